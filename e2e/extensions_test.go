package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
)

// The options that the client's kernel sends with every packet of a socket: a router
// alert, and a tunnel limit padded in a way that is not ours.
var (
	sentHopByHop    = []byte{0, 0, 5, 2, 0, 2, 0, 0}
	sentDestination = []byte{0, 1, 1, 2, 0, 0, 4, 1, 7, 1, 5, 0, 0, 0, 0, 0}
)

// extending makes sockets that send these options.
var extending = net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		if failed = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, string(sentHopByHop)); failed == nil {
			failed = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, string(sentDestination))
		}
	})
	if err != nil {
		return err
	}
	return failed
}}

// dialExtending is Host.Dial with such a socket.
func dialExtending(ctx context.Context, h *lab.Host, network, addr string) (c net.Conn, err error) {
	err = h.Do(func() error {
		c, err = extending.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// TestExtensionHeaders: real kernels talk with extension headers, which are written
// anew where they are listed and are gone where they are not, in segments and in
// fragments.
func TestExtensionHeaders(t *testing.T) {
	for _, inline := range []bool{false, true} {
		l := up(t, lab.Options{Inline: inline, NoOffloads: true})
		tcp := must(l.Server.StartEcho(t.Context(), hostPort(l.Server, "tcp6", 0)))(t)
		t.Cleanup(func() { check(t, tcp.Close()) })
		udp := must(l.Server.StartUDPEcho(t.Context(), hostPort(l.Server, "udp6", 0)))(t)
		t.Cleanup(func() { check(t, udp.Close()) })
		for _, listed := range []bool{true, false} {
			t.Run(fmt.Sprintf("inline %v, listed %v", inline, listed), func(t *testing.T) {
				settings, file := "", wire("arp, ip, nd, icmp, udp, tcp")
				if !inline {
					file = fmt.Sprintf("version: 1\ninstances:\n  - name: a\n    match: {server: %q}\n    chain: [ip, icmp, udp, tcp]\n", l.Server.IPv6)
				}
				if listed {
					settings = "    modules: {ip: {extensions: [hop-by-hop, destination]}}\n"
				}
				d := start(t, l, file+settings)
				mac := must(l.Server.MAC(""))(t)
				capture := must(l.Server.Capture(lab.CaptureOptions{Filter: func(b []byte) bool {
					return len(b) > 14+40 && bytes.Equal(b[:6], mac) && b[12] == 0x86 && b[20] != 58
				}}))(t)
				extendedTransfers(t, l, tcp.Addr, udp.Addr)
				must(capture.Stop())(t)
				frames := capture.Frames()
				for _, finding := range lab.JudgeFrames(frames, lab.KindExtension, lab.KindFragment) {
					t.Errorf("judge: %v", finding)
				}
				arrived(t, frames, listed)
				for _, r := range d.reasons(t) {
					if strings.HasPrefix(r.Reason, "icmp.") { // kernels report themselves as listeners, too
						continue
					}
					if listed || r.Reason != "ip6.extension-removed" {
						t.Errorf("%s counted %d times", r.Reason, r.Count)
					}
				}
				d.accounted(t)
				d.stop(t)
			})
		}
	}
}

// extendedTransfers sends a stream and a long datagram there and back.
func extendedTransfers(t *testing.T, l *lab.Lab, tcp, udp string) {
	t.Helper()
	ctx := within(t, patience)
	data := must(io.ReadAll(lab.Data(1, 100_000)))(t)
	for _, tt := range []struct {
		network, addr string
		data          []byte
	}{{"tcp6", tcp, data}, {"udp6", udp, data[:8000]}, {"udp6", udp, data[:100]}} {
		c := must(dialExtending(ctx, l.Client, tt.network, tt.addr))(t)
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(tt.data)
			written <- err
		}()
		got := make([]byte, len(tt.data))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, tt.data) {
			t.Errorf("%s, %d bytes: came back as others, or %v", tt.network, len(tt.data), err)
		}
		check(t, <-written)
		stop()
		check(t, c.Close())
	}
}

// arrived looks at the extension headers that the server's kernel got.
func arrived(t *testing.T, frames []lab.Frame, listed bool) {
	t.Helper()
	hops, destinations := 0, 0
	for _, f := range frames {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if h, ok := p.Layer(layers.LayerTypeIPv6HopByHop).(*layers.IPv6HopByHop); ok {
			hops++
			if got := h.Contents[2:]; !bytes.Equal(got, []byte{5, 2, 0, 2, 1, 0}) {
				t.Fatalf("hop-by-hop options % x", got)
			}
		}
		if h, ok := p.Layer(layers.LayerTypeIPv6Destination).(*layers.IPv6Destination); ok {
			destinations++
			if got := h.Contents[1:]; !bytes.Equal(got, []byte{0, 4, 1, 7, 1, 1, 0}) {
				t.Fatalf("destination options % x", got)
			}
		}
	}
	if some := hops > 3 && destinations > 3; some != listed || !listed && hops+destinations > 0 {
		t.Errorf("%d of %d packets have hop-by-hop options, %d destination options", hops, len(frames), destinations)
	}
}
