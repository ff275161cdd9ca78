package host_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/source/host"
)

func TestMain(m *testing.M) { os.Exit(lab.RunTests(m)) }

// open opens the host of a lab's proxy.
func open(t *testing.T) (*lab.Lab, *host.Host) {
	t.Helper()
	lab.Require(t)
	l, err := lab.Up(t.Context(), lab.Options{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	var h *host.Host
	if err := l.Proxy.Do(func() error {
		h, err = host.Open()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return l, h
}

func TestRoute(t *testing.T) {
	l, h := open(t)
	for _, tt := range []struct {
		dst  netip.Addr
		src  string
		name string
	}{
		{l.Server.IPv4, "10.77.2.1", lab.ServerInterface},
		{l.Client.IPv4, "10.77.1.1", lab.ClientInterface},
		{l.Server.IPv6, "fd77:2::1", lab.ServerInterface},
	} {
		r, err := h.Route(tt.dst, 0)
		if err != nil || r.Src.String() != tt.src || h.DeviceName(r.Out) != tt.name || r.Gateway.IsValid() {
			t.Errorf("route to %v: %+v through %q, %v; want source %s through %s", tt.dst, r, h.DeviceName(r.Out), err, tt.src, tt.name)
		}
	}
	if err := l.Proxy.Do(func() error {
		link, err := netlink.LinkByName(lab.ClientInterface)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, 1400)
	}); err != nil {
		t.Fatal(err)
	}
	other := netip.MustParseAddr("10.77.1.3") // nobody has asked for it
	for dst, want := range map[netip.Addr]int{l.Server.IPv4: 1500, other: 1400} {
		if r, err := h.Route(dst, 0); err != nil || r.MTU != want {
			t.Errorf("route to %v: MTU %d, %v; want %d", dst, r.MTU, err, want)
		}
	}
	if _, err := h.Route(netip.MustParseAddr("192.0.2.1"), 0); !errors.Is(err, ppf.ErrNoRoute) {
		t.Errorf("route to nowhere: %v, want %v", err, ppf.ErrNoRoute)
	}
}

func TestDeviceName(t *testing.T) {
	_, h := open(t)
	if got := h.DeviceName(1); got != "lo" {
		t.Errorf("interface 1 is %q, want lo", got)
	}
	for _, index := range []int32{0, 99999} {
		if got := h.DeviceName(index); got != "" {
			t.Errorf("interface %d is %q, want none", index, got)
		}
	}
}

// TestPorts: a reserved port is free for nobody in that host, until it is given
// back.
func TestPorts(t *testing.T) {
	l, h := open(t)
	addr := netip.MustParseAddr("10.77.2.1")
	seen := map[uint16]bool{}
	for range 200 {
		port, err := h.ReservePort(addr, packet.ProtoTCP)
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was reserved twice", port)
		}
		seen[port] = true
	}
	for port := range seen {
		at := net.JoinHostPort(addr.String(), netip.AddrPortFrom(addr, port).String()[len(addr.String())+1:])
		if c, err := l.Proxy.Listen(t.Context(), "tcp", at); err == nil {
			c.Close()
			t.Errorf("a socket took reserved port %d", port)
		}
		h.ReleasePort(addr, packet.ProtoTCP, port)
		c, err := l.Proxy.Listen(t.Context(), "tcp", at)
		if err != nil {
			t.Errorf("port %d is not free again: %v", port, err)
			continue
		}
		c.Close()
	}
	if _, err := h.ReservePort(l.Server.IPv4, packet.ProtoTCP); !errors.Is(err, host.ErrNoPort) {
		t.Errorf("port of another host's address: %v, want %v", err, host.ErrNoPort)
	}
	if _, err := h.ReservePort(netip.MustParseAddr("fd77:2::1"), packet.ProtoUDP); err != nil {
		t.Errorf("IPv6 UDP port: %v", err)
	}
}

func TestRandom(t *testing.T) {
	_, h := open(t)
	seen := map[uint32]bool{}
	for range 100 {
		seen[h.Uint32()] = true
	}
	if len(seen) < 99 {
		t.Errorf("%d different numbers of 100", len(seen))
	}
	if a, b := h.Now(), h.Now(); a <= 0 || b < a {
		t.Errorf("the clock says %d, then %d", a, b)
	}
}

// TestMoment: timers measure what Now says by the clock that is not set.
func TestMoment(t *testing.T) {
	_, h := open(t)
	now := h.Now()
	at := h.Moment(now)
	if !strings.Contains(at.String(), " m=") || at.UnixNano() != now || time.Since(at) < 0 {
		t.Errorf("Moment(%d): got %v, now it is %v", now, at, time.Now())
	}
	if past := h.Moment(1); past.UnixNano() != 1 {
		t.Errorf("Moment(1): got %v", past)
	}
}
