package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"

	"github.com/promethos/promethos/lab"
)

// narrow lowers the MTU of the link towards one end of the lab, on the proxy's
// side only: that end still sends segments that do not fit on the way back.
func narrow(t *testing.T, l *lab.Lab, iface string, mtu int) {
	t.Helper()
	err := l.Proxy.Do(func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPathMTU lowers the MTU behind the proxy: the errors that say so must come
// through, for a transfer to and one from the server, or it never completes.
func TestPathMTU(t *testing.T) {
	const mtu = 1300
	for _, hook := range transitHooks {
		for _, f := range families {
			t.Run(hook+"/"+f.name, func(t *testing.T) {
				// A lab of its own: kernels remember what they learnt.
				l := up(t, lab.Options{NoOffloads: true})
				p := port(t, web(t, l.Server).Addr)
				d := withServer(t, l, hook, p, notAdopting)
				s := at(hostPort(l.Server, f.network, p))
				must(l.Client.Download(within(t, patience), s.DataURL(100_000, 1)))(t)

				narrow(t, l, lab.ServerInterface, mtu)
				must(l.Client.Upload(within(t, patience), s.UploadURL(), 1_000_000, 2))(t)
				narrow(t, l, lab.ServerInterface, 1500)

				narrow(t, l, lab.ClientInterface, mtu)
				capture := must(l.Client.Capture(lab.CaptureOptions{Filter: func(frame []byte) bool {
					ip, _, ok := segment(frame)
					return ok && len(frame) > mtu+14 && ip[0]>>4 == 4
				}}))(t)
				must(l.Client.Download(within(t, patience), s.DataURL(1_000_000, 3)))(t)
				if stats := must(capture.Stop())(t); stats.Frames > 0 {
					t.Errorf("%d frames of more than %d bytes passed the link", stats.Frames, mtu)
				}
				d.accounted(t)
				if n := d.counted(t, "chain.unhandled"); n > 0 {
					t.Errorf("%d packets were not handled: %+v", n, d.reasons(t))
				}
			})
		}
	}
}

// TestTimeExceeded sends the first packets of a traceroute over TCP: the proxy host's
// answer reaches the client, and quotes what the client sent.
func TestTimeExceeded(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	p := port(t, web(t, l.Server).Addr)
	for _, hook := range transitHooks {
		for _, f := range families {
			t.Run(hook+"/"+f.name, func(t *testing.T) {
				d := withServer(t, l, hook, p, notAdopting)
				sender := must(l.Client.RawSender(""))(t)
				defer sender.Close()
				capture := must(l.Client.Capture(lab.CaptureOptions{}))(t)
				syn := expiring(t, l, f, p)
				if err := sender.Send(syn); err != nil {
					t.Fatal(err)
				}
				answer, err := capture.Wait(within(t, patience), func(frame lab.Frame) bool {
					return !frame.Outgoing && exceeded(frame.Data)
				})
				must(capture.Stop())(t)
				if err != nil {
					t.Fatalf("no time exceeded reached the client: %v; %+v", err, d.reasons(t))
				}
				// Ports and sequence number are quoted as the client sent them.
				_, tcp, _ := segment(syn)
				if !strings.Contains(string(answer.Data), string(tcp[:8])) {
					t.Errorf("the answer does not quote %x: %x", tcp[:8], answer.Data)
				}
				must(l.Client.Download(within(t, patience), at(hostPort(l.Server, f.network, p)).DataURL(100_000, 1)))(t)
				d.accounted(t)
			})
		}
	}
}

// expiring is a SYN from the client that the proxy host may not forward.
func expiring(t *testing.T, l *lab.Lab, f family, p uint16) []byte {
	t.Helper()
	tcp := &layers.TCP{SrcPort: strangerPort, DstPort: layers.TCPPort(p), Seq: 0x50504600, SYN: true, Window: 1024}
	ether := &layers.Ethernet{SrcMAC: must(l.Client.MAC(""))(t), DstMAC: must(l.NextHopMAC(l.Client))(t), EthernetType: layers.EthernetTypeIPv4}
	from, to := l.Client.Addr(f.network), l.Server.Addr(f.network)
	if from.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		check(t, tcp.SetNetworkLayerForChecksum(ip))
		return frame(t, ether, ip, tcp)
	}
	ether.EthernetType = layers.EthernetTypeIPv6
	ip := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolTCP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	check(t, tcp.SetNetworkLayerForChecksum(ip))
	return frame(t, ether, ip, tcp)
}

// exceeded finds time exceeded in transit.
func exceeded(data []byte) bool {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return icmp.TypeCode.Type() == layers.ICMPv4TypeTimeExceeded
	}
	icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	return ok && icmp.TypeCode.Type() == layers.ICMPv6TypeTimeExceeded
}

// TestRefusedByServer wants a closed port of the server to refuse through the
// proxy as it does without it.
func TestRefusedByServer(t *testing.T) {
	l := up(t, lab.Options{})
	listener := must(l.Server.Listen(t.Context(), "tcp", ":0"))(t)
	p := port(t, listener.Addr().String())
	check(t, listener.Close())
	d := withServer(t, l, "forward", p, notAdopting)
	for _, f := range families {
		c, err := l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, p))
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want connection refused", f.name, err)
		}
	}
	undisturbed(t, d)
}

// TestReset wants a connection that one side resets to be reset at the other.
func TestReset(t *testing.T) {
	l := up(t, lab.Options{})
	listener := must(l.Server.Listen(t.Context(), "tcp", "[::]:0"))(t)
	defer listener.Close()
	p := port(t, listener.Addr().String())
	d := withServer(t, l, "forward", p, notAdopting)
	for _, f := range families {
		client := must(l.Client.Dial(within(t, patience), f.network, hostPort(l.Server, f.network, p)))(t)
		server := must(listener.Accept())(t)
		check(t, client.(*net.TCPConn).SetLinger(0))
		check(t, client.Close())
		check(t, server.SetReadDeadline(time.Now().Add(patience)))
		if _, err := io.ReadAll(server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want connection reset", f.name, err)
		}
		server.Close()
	}
	undisturbed(t, d)
}

// TestNarrowControl shows that the tests of the path MTU do see one: a ping that
// may not be cut does not fit.
func TestNarrowControl(t *testing.T) {
	l := up(t, lab.Options{})
	narrow(t, l, lab.ServerInterface, 1300)
	echo := must(l.Server.StartUDPEcho(t.Context(), ":0"))(t)
	t.Cleanup(func() { check(t, echo.Close()) })
	r, err := l.Client.UDPEcho(within(t, patience), fmt.Sprintf("%v:%d", l.Server.IPv4, port(t, echo.Addr)), lab.EchoOptions{Size: 1400, Timeout: settled})
	if r.Received > 0 {
		t.Errorf("a datagram of 1400 bytes passed a link of 1300: %v", err)
	}
}
