package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) { os.Exit(RunTests(m)) }

// up gives a test a lab that goes with the test.
func up(t *testing.T, options Options) *Lab {
	t.Helper()
	Require(t)
	options.Anonymous = true
	l, err := Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Errorf("Down: %v", err)
		}
	})
	return l
}

// upNamed is up for a lab with names, which an ordinary user cannot have.
func upNamed(t *testing.T, options Options) (*Lab, Options) {
	t.Helper()
	Require(t)
	if os.Getenv(userNamespaceMark) != "" {
		t.Skip("needs a lab with names: missing write access to /run/netns in a user namespace")
	}
	options.NamePrefix = fmt.Sprintf("promethos-test%d-", os.Getpid())
	l, err := Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(options); err != nil {
			t.Errorf("Remove: %v", err)
		}
	})
	return l, options
}

func TestUpLayouts(t *testing.T) {
	for _, tt := range []struct {
		options        Options
		client, server [2]string
		proxy          map[string][]string // interface → addresses
		forward        string
	}{
		{Options{}, [2]string{"10.77.1.2", "fd77:1::2"}, [2]string{"10.77.2.2", "fd77:2::2"},
			map[string][]string{ClientInterface: {"10.77.1.1/24", "fd77:1::1/64"}, ServerInterface: {"10.77.2.1/24", "fd77:2::1/64"}}, "1"},
		{Options{Inline: true}, [2]string{"10.77.0.2", "fd77::2"}, [2]string{"10.77.0.3", "fd77::3"},
			map[string][]string{ClientInterface: nil, ServerInterface: nil}, "0"},
	} {
		t.Run(fmt.Sprintf("inline=%v", tt.options.Inline), func(t *testing.T) {
			l := up(t, tt.options)
			if got := [2]string{l.Client.IPv4.String(), l.Client.IPv6.String()}; got != tt.client {
				t.Errorf("client addresses: got %v, want %v", got, tt.client)
			}
			if got := [2]string{l.Server.IPv4.String(), l.Server.IPv6.String()}; got != tt.server {
				t.Errorf("server addresses: got %v, want %v", got, tt.server)
			}
			for name, want := range tt.proxy {
				if got := addresses(t, l.Proxy, name); strings.Join(got, " ") != strings.Join(want, " ") {
					t.Errorf("proxy %s: got %v, want %v", name, got, want)
				}
			}
			for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
				var got []byte
				if err := l.Proxy.Do(func() (err error) { got, err = os.ReadFile("/proc/sys/" + key); return err }); err != nil {
					t.Fatal(err)
				}
				if strings.TrimSpace(string(got)) != tt.forward {
					t.Errorf("%s: got %s, want %s", key, got, tt.forward)
				}
			}
			for _, h := range l.Hosts() { // loopback is up everywhere
				if got := addresses(t, h, "lo"); len(got) == 0 || got[0] != "127.0.0.1/8" {
					t.Errorf("%s lo: got %v, want 127.0.0.1/8", h.Name, got)
				}
			}
		})
	}
}

// addresses lists an interface's addresses but the link-local ones.
func addresses(t *testing.T, h *Host, name string) (list []string) {
	t.Helper()
	if err := h.withNetlink(func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(name)
		if err != nil {
			return err
		}
		addrs, err := nl.AddrList(link, netlink.FAMILY_ALL)
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				list = append(list, a.IPNet.String())
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestNamedLab(t *testing.T) {
	l, options := upNamed(t, Options{Inline: true})
	for _, role := range roles {
		if _, err := os.Stat(filepath.Join(netnsDir, options.NamePrefix+role)); err != nil {
			t.Error(err)
		}
	}
	_, err := Up(t.Context(), options)
	if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "promethos lab down") {
		t.Errorf("Up over a lab that is up: got %v, want ErrExists naming `promethos lab down`", err)
	}

	other, err := Attach(Options{NamePrefix: options.NamePrefix})
	if err != nil {
		t.Fatal(err)
	}
	if !other.Inline() || other.Client.IPv4 != netip.MustParseAddr("10.77.0.2") {
		t.Errorf("Attach: got inline %v, client %v, want the inline layout", other.Inline(), other.Client.IPv4)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Client.Do(func() error { return nil }); err != nil {
		t.Errorf("the lab after another user's Close: %v", err)
	}

	for range 2 { // as another process does
		if err := Remove(options); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	if err := l.Down(); err != nil {
		t.Errorf("Down after Remove: %v", err)
	}
	if err := l.Down(); err != nil {
		t.Errorf("second Down: %v", err)
	}
	for _, role := range roles {
		if _, err := os.Stat(filepath.Join(netnsDir, options.NamePrefix+role)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after Down: got %v, want ErrNotExist", role, err)
		}
	}
	if _, err := Attach(options); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Attach after Down: got %v, want ErrNotExist", err)
	}
}

func TestUpLeavesNothingBehind(t *testing.T) {
	l, options := upNamed(t, Options{})
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	// What a crash between making the name and the mount leaves.
	leftover := filepath.Join(netnsDir, options.NamePrefix+"server")
	if err := os.WriteFile(leftover, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), options); !errors.Is(err, ErrExists) {
		t.Errorf("Up over a leftover: got %v, want ErrExists", err)
	}
	for _, role := range []string{"client", "proxy"} {
		if _, err := os.Stat(filepath.Join(netnsDir, options.NamePrefix+role)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after a failed Up: got %v, want ErrNotExist", role, err)
		}
	}
	if _, err := os.Stat(leftover); err != nil {
		t.Errorf("a failed Up removed what is not its own: %v", err)
	}
	if err := Remove(options); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftover after Remove: got %v, want ErrNotExist", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Up(ctx, options); !errors.Is(err, context.Canceled) {
		t.Errorf("Up with an ended context: got %v, want context.Canceled", err)
	}
}

// TestNothingLeaks counts file descriptors, which hold namespaces, and goroutines.
func TestNothingLeaks(t *testing.T) {
	Require(t)
	count := func() (fds, goroutines int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list), runtime.NumGoroutine()
	}
	use := func() {
		l, err := Up(t.Context(), Options{Anonymous: true})
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Server.Capture(CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Server.StartHTTP(t.Context(), l.Server.IPv4.String()+":0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Client.Download(t.Context(), s.DataURL(1000, 1)); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Stop(); err != nil {
			t.Error(err)
		}
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	}
	use() // what the runtime opens once
	fds, goroutines := count()
	for range 3 {
		use()
	}
	// Goroutines of closed HTTP connections end by themselves, a little later.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if f, g := count(); f <= fds && g <= goroutines {
			return
		}
	}
	f, g := count()
	t.Errorf("after 3 more labs: %d descriptors and %d goroutines, want %d and %d", f, g, fds, goroutines)
}

func TestNamePrefix(t *testing.T) {
	for _, prefix := range []string{"../x", "a/b", "..", "a b", "ä", strings.Repeat("x", 101)} {
		if _, err := Up(t.Context(), Options{NamePrefix: prefix}); err == nil || !strings.Contains(err.Error(), "name prefix") {
			t.Errorf("Up with prefix %q: got %v, want an error about the prefix", prefix, err)
		}
	}
}

func TestHostByRole(t *testing.T) {
	l := newLab(Options{NamePrefix: "x-"})
	if h, err := l.Host("proxy"); err != nil || h != l.Proxy || h.Name != "x-proxy" {
		t.Errorf("Host(proxy): got %v, %v", h, err)
	}
	if _, err := l.Host("router"); err == nil || !strings.Contains(err.Error(), "client, proxy, server") {
		t.Errorf("Host(router): got %v, want an error that lists the roles", err)
	}
}
