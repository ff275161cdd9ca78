package e2e

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
)

// TestInlineGroups: what the kernel of a device says when it joins and leaves
// groups, of both IP versions, crosses a wire built anew; another decoder finds the
// group in it.
func TestInlineGroups(t *testing.T) {
	l := up(t, lab.Options{Inline: true, NoOffloads: true})
	d := start(t, l, wire("ethernet, arp, igmp, mld, ip, nd, icmp, udp, tcp"))
	capture := must(l.Client.Capture(lab.CaptureOptions{}))(t)
	for network, group := range map[string]string{"udp4": "239.77.1.2", "udp6": "ff15::77"} {
		var c *net.UDPConn
		check(t, l.Server.Do(func() error {
			device, err := net.InterfaceByName(lab.EndInterface)
			if err == nil {
				c, err = net.ListenMulticastUDP(network, device, &net.UDPAddr{IP: net.ParseIP(group)})
			}
			return err
		}))
		if c == nil {
			t.FailNow()
		}
		said := func(joins bool) func(lab.Frame) bool {
			return func(f lab.Frame) bool { return !f.Outgoing && speaksOf(f.Data, net.ParseIP(group), joins) }
		}
		must(capture.Wait(within(t, patience), said(true)))(t)
		check(t, c.Close())
		must(capture.Wait(within(t, patience), said(false)))(t)
	}
	must(capture.Stop())(t)
	if s := d.accounted(t); s.Packets.Unchanged > 0 || s.Packets.Sent == 0 {
		t.Errorf("not everything was built anew: %+v", s.Packets)
	}
	for _, r := range d.reasons(t) {
		t.Errorf("%+v", r)
	}
}

// speaksOf reports whether a frame is a report of the newest version in which
// somebody joins a group for all senders, or leaves it.
func speaksOf(data []byte, group net.IP, joins bool) bool {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	if h, ok := p.Layer(layers.LayerTypeIGMP).(*layers.IGMP); ok {
		want := layers.IGMPToIn
		if joins {
			want = layers.IGMPToEx
		}
		for _, r := range h.GroupRecords {
			if r.MulticastAddress.Equal(group) && r.Type == want {
				return true
			}
		}
	}
	if h, ok := p.Layer(layers.LayerTypeMLDv2MulticastListenerReport).(*layers.MLDv2MulticastListenerReportMessage); ok {
		want := layers.MLDv2MulticastAddressRecordTypeChangeToIncludeMode
		if joins {
			want = layers.MLDv2MulticastAddressRecordTypeChangeToExcludeMode
		}
		for _, r := range h.MulticastAddressRecords {
			if r.MulticastAddress.Equal(group) && r.RecordType == want {
				return true
			}
		}
	}
	return false
}

// TestInlineDHCP: on a wire as protect makes it, where everything is refused that
// was not asked for, a device still gets its address: what it asks of all crosses,
// and so does the answer, to all and to its own address.
func TestInlineDHCP(t *testing.T) {
	l := up(t, lab.Options{Inline: true, NoOffloads: true})
	p := startProtect(t, l, nil, l.Server.IPv4.String(), "--tcp", "1", "--now", "--inline", lab.ClientInterface+","+lab.ServerInterface)
	none, all, dhcp := netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255"), l.Client.IPv4
	device, other := packet.MAC(must(l.Server.MAC(""))(t)), packet.MAC(must(l.Client.MAC(""))(t))
	for _, m := range []struct {
		typ      layers.DHCPMsgType
		asks     bool // of the device
		src, dst netip.Addr
		to       packet.MAC
	}{
		{layers.DHCPMsgTypeDiscover, true, none, all, packet.BroadcastMAC},
		{layers.DHCPMsgTypeOffer, false, dhcp, all, packet.BroadcastMAC},
		{layers.DHCPMsgTypeRequest, true, none, all, packet.BroadcastMAC},
		{layers.DHCPMsgTypeAck, false, dhcp, l.Server.IPv4, device},
		{layers.DHCPMsgTypeRequest, true, l.Server.IPv4, dhcp, other}, // a renewal
	} {
		from, to, mac, op, udp := l.Client, l.Server, other, layers.DHCPOpReply, &layers.UDP{SrcPort: 67, DstPort: 68}
		if m.asks {
			from, to, mac, op, udp = l.Server, l.Client, device, layers.DHCPOpRequest, &layers.UDP{SrcPort: 68, DstPort: 67}
		}
		message := &layers.DHCPv4{
			Operation: op, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 0x77777777, ClientHWAddr: device[:],
			Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(m.typ)})},
		}
		if !m.asks {
			message.YourClientIP = l.Server.IPv4.AsSlice()
			message.Options = append(message.Options, layers.NewDHCPOption(layers.DHCPOptServerID, dhcp.AsSlice()))
		}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: m.src.AsSlice(), DstIP: m.dst.AsSlice()}
		check(t, udp.SetNetworkLayerForChecksum(ip))
		b := gopacket.NewSerializeBuffer()
		check(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: mac[:], DstMAC: m.to[:], EthernetType: layers.EthernetTypeIPv4}, ip, udp, message))
		capture := must(to.Capture(lab.CaptureOptions{}))(t)
		sender := must(from.RawSender(lab.EndInterface))(t)
		check(t, sender.Send(b.Bytes()))
		must(capture.Wait(within(t, patience), func(f lab.Frame) bool {
			got, ok := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeDHCPv4).(*layers.DHCPv4)
			return !f.Outgoing && ok && got.Xid == message.Xid && len(got.Options) > 0 && got.Options[0].Data[0] == byte(m.typ)
		}))(t)
		must(capture.Stop())(t)
		check(t, sender.Close())
	}
	p.accounted(t)
}
