package e2e

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
)

// frame serializes layers with their lengths and checksums.
func frame(t *testing.T, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// strangerPort is the client's port in what no connection sent; it is above the
// ephemeral ones.
const strangerPort = 64000

// unreachables are ICMP errors from the client about segments of the server's
// port that the server never sent, one of each family.
func unreachables(t *testing.T, l *lab.Lab, p uint16) [][]byte {
	t.Helper()
	segment := func(ip gopacket.NetworkLayer) *layers.TCP {
		tcp := &layers.TCP{SrcPort: layers.TCPPort(p), DstPort: strangerPort, Seq: 1000, Ack: 1, ACK: true, Window: 1024}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return tcp
	}
	ip4 := func(from, to netip.Addr, protocol layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, Flags: layers.IPv4DontFragment, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	}
	ip6 := func(from, to netip.Addr, next layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	}
	ether := func(kind layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: must(l.Client.MAC(""))(t), DstMAC: must(l.NextHopMAC(l.Client))(t), EthernetType: kind}
	}
	client, server := l.Client, l.Server
	inner4 := ip4(server.IPv4, client.IPv4, layers.IPProtocolTCP)
	inner6 := ip6(server.IPv6, client.IPv6, layers.IPProtocolTCP)
	outer6 := ip6(client.IPv6, server.IPv6, layers.IPProtocolICMPv6)
	icmp6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, layers.ICMPv6CodePortUnreachable)}
	if err := icmp6.SetNetworkLayerForChecksum(outer6); err != nil {
		t.Fatal(err)
	}
	quote4 := gopacket.Payload(frame(t, inner4, segment(inner4)))
	quote6 := gopacket.Payload(append([]byte{0, 0, 0, 0}, frame(t, inner6, segment(inner6))...))
	return [][]byte{
		frame(t, ether(layers.EthernetTypeIPv4), ip4(client.IPv4, server.IPv4, layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort)}, quote4),
		frame(t, ether(layers.EthernetTypeIPv6), outer6, icmp6, quote6),
	}
}

// isUnreachable finds them again.
func isUnreachable(data []byte) bool {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return icmp.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable
	}
	icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	return ok && icmp.TypeCode.Type() == layers.ICMPv6TypeDestinationUnreachable
}

// TestUnreachablesArrive shows that the errors of the tests of a closed server
// are ones that a plain router lets through.
func TestUnreachablesArrive(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	capture := must(l.Server.Capture(lab.CaptureOptions{Filter: isUnreachable}))(t)
	sender := must(l.Client.RawSender(""))(t)
	defer sender.Close()
	list := unreachables(t, l, 80)
	for _, e := range list {
		check(t, sender.Send(e))
	}
	for _, version := range []byte{0x45, 0x60} {
		must(capture.Wait(within(t, patience), func(f lab.Frame) bool { return f.Data[14] == version }))(t)
	}
	settle(t, l)
	if s := must(capture.Stop())(t); s.Frames != uint64(len(list)) {
		t.Errorf("%d of %d arrived", s.Frames, len(list))
	}
}
