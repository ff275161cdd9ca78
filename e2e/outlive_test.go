package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/ppf"
)

// TestFlowsOutliveStop: a datagram and an echo request that a client sent before a
// stop are answered after the next start, by a server that may not send first.
func TestFlowsOutliveStop(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	configuration := fmt.Sprintf(`version: 1
on_exit: block
state: %s
instances:
  - name: all
    hook: forward
    match: {server: [%s, "%s"]}
    initiate: client
    chain: [ip, icmp, udp, tcp]
`, t.TempDir(), l.Server.IPv4, l.Server.IPv6)
	for key, value := range map[string]string{"net/ipv4/icmp_echo_ignore_all": "1", "net/ipv6/icmp/echo_ignore_all": "1"} {
		check(t, l.Server.Sysctl(key, value))
	}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			d := start(t, l, configuration)
			network := "udp" + f.network[3:]
			server := must(l.Server.ListenPacket(within(t, patience), network, hostPort(l.Server, f.network, 0)))(t)
			defer server.Close()
			client := must(l.Client.Dial(within(t, patience), network, server.LocalAddr().String()))(t)
			defer client.Close()
			for _, c := range []interface{ SetDeadline(time.Time) error }{server, client} {
				check(t, c.SetDeadline(time.Now().Add(patience)))
			}
			must(client.Write([]byte("question")))(t)
			from := told(t, server, "question")
			arriving := must(l.Server.Capture(lab.CaptureOptions{Filter: isEcho}))(t)
			transmit(t, l.Client, echoing(t, l.Client, l.Server, l, f.network, false))
			must(arriving.Wait(within(t, patience), func(frame lab.Frame) bool { return !frame.Outgoing }))(t)
			must(arriving.Stop())(t)

			d.stop(t)
			next := start(t, l, configuration)
			next.event(t, "connections are taken up from")
			if list := table[[]ppf.ConnectionInfo](t, next, "connections"); len(list) != 2 {
				t.Errorf("connections %+v, want a flow and an exchange", list)
			}
			must(server.WriteTo([]byte("answer"), from))(t)
			buffer := make([]byte, 100)
			if n := must(client.Read(buffer))(t); string(buffer[:n]) != "answer" {
				t.Errorf("the client was told %q", buffer[:n])
			}
			back := must(l.Client.Capture(lab.CaptureOptions{Filter: isEcho}))(t)
			transmit(t, l.Server, echoing(t, l.Server, l.Client, l, f.network, true))
			must(back.Wait(within(t, patience), func(frame lab.Frame) bool { return !frame.Outgoing }))(t)
			must(back.Stop())(t)
			next.accounted(t)
			if list := next.reasons(t); len(list) > 0 {
				t.Errorf("something was dropped or repaired: %+v", list)
			}
			next.stop(t)
			unblock(t, l)
		})
	}
}

// transmit sends a frame.
func transmit(t *testing.T, from *lab.Host, frame []byte) {
	t.Helper()
	sender := must(from.RawSender(""))(t)
	defer sender.Close()
	check(t, sender.Send(frame))
}

// told wants a datagram to arrive, and tells where from.
func told(t *testing.T, c net.PacketConn, want string) net.Addr {
	t.Helper()
	buffer := make([]byte, 100)
	n, from, err := c.ReadFrom(buffer)
	if err != nil || string(buffer[:n]) != want {
		t.Fatalf("%q from %v: %v; want %q", buffer[:n], from, err, want)
	}
	return from
}

// echoing is an echo request or reply from one end of the lab to the other.
func echoing(t *testing.T, from, to *lab.Host, l *lab.Lab, network string, reply bool) []byte {
	t.Helper()
	ether := &layers.Ethernet{SrcMAC: must(from.MAC(""))(t), DstMAC: must(l.NextHopMAC(from))(t), EthernetType: layers.EthernetTypeIPv4}
	src, dst := from.Addr(network), to.Addr(network)
	if src.Is4() {
		typ := uint8(layers.ICMPv4TypeEchoRequest)
		if reply {
			typ = layers.ICMPv4TypeEchoReply
		}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, Flags: layers.IPv4DontFragment, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		return frame(t, ether, ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: 0x5046, Seq: 1})
	}
	typ := uint8(layers.ICMPv6TypeEchoRequest)
	if reply {
		typ = layers.ICMPv6TypeEchoReply
	}
	ether.EthernetType = layers.EthernetTypeIPv6
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	check(t, icmp.SetNetworkLayerForChecksum(ip))
	return frame(t, ether, ip, icmp, &layers.ICMPv6Echo{Identifier: 0x5046, SeqNumber: 1})
}

// isEcho finds what echoing made.
func isEcho(data []byte) bool {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return icmp.Id == 0x5046
	}
	echo, ok := p.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo)
	return ok && echo.Identifier == 0x5046
}
