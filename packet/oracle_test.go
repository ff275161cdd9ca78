package packet

import (
	"bytes"
	"net"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// TestOracle has another decoder judge what the encoder writes: gopacket must
// read the same values, and what it writes from its own decoding, with lengths
// and checksums computed anew, must be the same bytes.
func TestOracle(t *testing.T) {
	wanted := []Layers{HasARP, HasVLAN, HasIPv4 | HasTCP, HasIPv6 | HasTCP, HasIPv4 | HasUDP, HasIPv6 | HasUDP, HasIPv4 | HasICMPv4, HasIPv6 | HasICMPv6}
	// One check draws 100 packets; the rarest kind is 1 in 50.
	const checks = 20
	for range checks {
		rapid.Check(t, func(t *rapid.T) {
			o := drawOut(t)
			b, err := tryEmit(t, o)
			if err != nil {
				t.Fatalf("Encode: %v", err)
			}
			wanted = slices.DeleteFunc(wanted, func(l Layers) bool { return o.has&l == l })
			judge(t, o, b)
		})
	}
	for _, l := range wanted {
		t.Errorf("no packet with %v was drawn", l)
	}
}

// judge compares one packet layer by layer.
func judge(t *rapid.T, o *Out, b []byte) {
	first := gopacket.Decoder(layers.LayerTypeIPv4)
	switch {
	case o.Ethernet() != nil:
		first = layers.LayerTypeEthernet
	case o.IPv6() != nil:
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.NoCopy)
	// It knows no ethertypes for experiments, and goes on to read what well-known
	// ports announce, which is not there; lengths are compared below all the same.
	if e := p.ErrorLayer(); o.Has(hasIP|HasARP) && !o.Has(HasTCP|HasUDP) && (e != nil || p.Metadata().Truncated) {
		t.Fatalf("gopacket: error %v, truncated %v in %x", e, p.Metadata().Truncated, b)
	}
	judgeLink(t, o, p)
	judgeIP(t, o, p)
	judgeL4(t, o, p)
	again := serialise(t, p)
	if o.Ethernet() != nil && len(b) < 60 { // gopacket pads to the least length of a frame
		if len(again) != 60 || len(bytes.Trim(again[len(b):], "\x00")) != 0 {
			t.Fatalf("gopacket pads with %x", again[min(len(b), len(again)):])
		}
		again = again[:len(b)]
	}
	if !bytes.Equal(again, b) {
		t.Fatalf("gopacket writes other bytes:\n%x ours\n%x gopacket\n%v", b, again, p)
	}
}

func judgeLink(t *rapid.T, o *Out, p gopacket.Packet) {
	if h := o.Ethernet(); h != nil {
		l := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		if MAC(l.SrcMAC) != h.Src || MAC(l.DstMAC) != h.Dst {
			t.Fatalf("Ethernet: gopacket reads %v > %v, sent %v", l.SrcMAC, l.DstMAC, h)
		}
	}
	tags := o.VLANs()
	for _, l := range p.Layers() {
		if tag, ok := l.(*layers.Dot1Q); ok {
			if len(tags) == 0 || tag.Priority != tags[0].PCP || tag.DropEligible != tags[0].DEI || tag.VLANIdentifier != tags[0].VID {
				t.Fatalf("VLAN: gopacket reads %+v, sent %v", tag, tags)
			}
			tags = tags[1:]
		}
	}
	if len(tags) > 0 {
		t.Fatalf("gopacket does not see %v", tags)
	}
	if h := o.ARP(); h != nil {
		l := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		if l.Operation != uint16(h.Op) || MAC(l.SourceHwAddress) != h.SenderMAC || MAC(l.DstHwAddress) != h.TargetMAC ||
			!bytes.Equal(l.SourceProtAddress, h.SenderIP.AsSlice()) || !bytes.Equal(l.DstProtAddress, h.TargetIP.AsSlice()) {
			t.Fatalf("ARP: gopacket reads %+v, sent %v", l, h)
		}
	}
}

func judgeIP(t *rapid.T, o *Out, p gopacket.Packet) {
	if h := o.IPv4(); h != nil {
		l := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if l.TOS != h.TOS || l.Id != h.ID || l.TTL != h.TTL || !l.SrcIP.Equal(h.Src.AsSlice()) || !l.DstIP.Equal(h.Dst.AsSlice()) ||
			(l.Flags&layers.IPv4DontFragment != 0) != h.DF || (l.Flags&layers.IPv4MoreFragments != 0) != h.MF || l.Flags&layers.IPv4EvilBit != 0 ||
			l.FragOffset*8 != h.FragOffset || len(l.Options) > 1 || len(l.Options) == 1 != h.RouterAlert {
			t.Fatalf("IPv4: gopacket reads %+v, sent %v", l, h)
		}
	}
	if h := o.IPv6(); h != nil {
		l := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		if l.TrafficClass != h.TrafficClass || l.FlowLabel != h.FlowLabel || l.HopLimit != h.HopLimit ||
			!l.SrcIP.Equal(net.IP(h.Src.AsSlice())) || !l.DstIP.Equal(net.IP(h.Dst.AsSlice())) {
			t.Fatalf("IPv6: gopacket reads %+v, sent %v", l, h)
		}
		judgeHeaders(t, h.Headers, p)
		if h.HasFragment {
			f := p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
			if f.FragmentOffset*8 != h.Fragment.Offset || f.MoreFragments != h.Fragment.More || f.Identification != h.Fragment.ID || Protocol(f.NextHeader) != h.NextHeader {
				t.Fatalf("fragment: gopacket reads %+v, sent %v", f, h.Fragment)
			}
		}
	}
}

// judgeHeaders compares options, padding aside. What stands behind a routing header
// of segments the other decoder does not read.
func judgeHeaders(t *rapid.T, h *IPv6Headers, p gopacket.Packet) {
	type option = struct {
		kind uint8
		data []byte
	}
	compare := func(name string, want *IPv6Options, have []option) {
		i := 0
		for _, x := range have {
			if IPv6OptionType(x.kind).IsPadding() {
				if len(bytes.Trim(x.data, "\x00")) > 0 || len(x.data) > 5 {
					t.Fatalf("%s: padding %x", name, x.data)
				}
				continue
			}
			data := make([]byte, 300)
			if i < want.Len() {
				y := want.At(i)
				y.encode(data)
				data = data[:y.len()]
			}
			if i >= want.Len() || !bytes.Equal(append([]byte{x.kind, uint8(len(x.data))}, x.data...), data) {
				t.Fatalf("%s: gopacket reads option %d as %#x %x, sent %v", name, i, x.kind, x.data, want)
			}
			i++
		}
		if i != want.Len() {
			t.Fatalf("%s: gopacket reads %d options, sent %v", name, i, want)
		}
	}
	if h == nil {
		h = new(IPv6Headers)
	}
	var have []option
	if l, ok := p.Layer(layers.LayerTypeIPv6HopByHop).(*layers.IPv6HopByHop); ok {
		for _, x := range l.Options {
			have = append(have, option{x.OptionType, x.OptionData})
		}
	}
	compare("hop-by-hop", &h.HopByHop, have)
	if h.Segments.Len() > 0 {
		return
	}
	have = nil
	if l, ok := p.Layer(layers.LayerTypeIPv6Destination).(*layers.IPv6Destination); ok {
		for _, x := range l.Options {
			have = append(have, option{x.OptionType, x.OptionData})
		}
	}
	compare("destination", &h.Destination, have)
}

func judgeL4(t *rapid.T, o *Out, p gopacket.Packet) {
	if h := o.TCP(); h != nil {
		l := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		flags := [8]bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR}
		for i, set := range flags {
			if set != (h.Flags&(1<<i) != 0) {
				t.Fatalf("TCP: gopacket reads flags %v, sent %v", flags, h.Flags)
			}
		}
		if uint16(l.SrcPort) != h.SrcPort || uint16(l.DstPort) != h.DstPort || Seq(l.Seq) != h.Seq || Seq(l.Ack) != h.Ack || l.Window != h.Window || l.Urgent != 0 || l.NS {
			t.Fatalf("TCP: gopacket reads %+v, sent %v", l, h)
		}
		judgeOptions(t, &h.Options, l.Options)
	}
	if h := o.UDP(); h != nil {
		l := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if uint16(l.SrcPort) != h.SrcPort || uint16(l.DstPort) != h.DstPort || l.Checksum == 0 || int(l.Length) != UDPLen+len(o.Payload()) {
			t.Fatalf("UDP: gopacket reads %+v, sent %v", l, h)
		}
	}
	if h := o.ICMPv4(); h != nil {
		l := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if l.TypeCode != layers.CreateICMPv4TypeCode(h.Type, h.Code) || l.Id != h.ID || !h.HasQuote && l.Seq != h.Seq || h.HasQuote && l.Seq != h.MTU {
			t.Fatalf("ICMPv4: gopacket reads %+v, sent %v", l, h)
		}
	}
	if h := o.ICMPv6(); h != nil {
		l := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if l.TypeCode != layers.CreateICMPv6TypeCode(h.Type, h.Code) {
			t.Fatalf("ICMPv6: gopacket reads %+v, sent %v", l, h)
		}
	}
}

// judgeOptions counts the options that gopacket sees, and compares values.
func judgeOptions(t *rapid.T, o *TCPOptions, seen []layers.TCPOption) {
	found := TCPOptionSet(0)
	for _, opt := range seen {
		switch opt.OptionType {
		case layers.TCPOptionKindMSS:
			found |= OptMSS
			if len(opt.OptionData) != 2 || uint16(opt.OptionData[0])<<8|uint16(opt.OptionData[1]) != o.MSS {
				t.Fatalf("gopacket reads %v, sent %v", opt, o)
			}
		case layers.TCPOptionKindWindowScale:
			found |= OptWScale
			if len(opt.OptionData) != 1 || opt.OptionData[0] != o.WScale {
				t.Fatalf("gopacket reads %v, sent %v", opt, o)
			}
		case layers.TCPOptionKindSACKPermitted:
			found |= OptSACKPermitted
		case layers.TCPOptionKindSACK:
			found |= OptSACK
			if len(opt.OptionData) != 8*int(o.NumSACK) {
				t.Fatalf("gopacket reads %v, sent %v", opt, o)
			}
		case layers.TCPOptionKindTimestamps:
			found |= OptTimestamps
			if len(opt.OptionData) != 8 {
				t.Fatalf("gopacket reads %v, sent %v", opt, o)
			}
		case tcpOptFastOpen:
			found |= OptFastOpen
			if !bytes.Equal(opt.OptionData, o.FastOpen[:o.FastOpenLen]) {
				t.Fatalf("gopacket reads %v, sent %v", opt, o)
			}
		case tcpOptUserTimeout:
			found |= OptUserTimeout
		case layers.TCPOptionKindNop, layers.TCPOptionKindEndList:
		default:
			t.Fatalf("gopacket sees %v, which cannot be sent", opt)
		}
	}
	if found != o.Has&optSendable {
		t.Fatalf("gopacket sees options %v, sent %v", found, o.Has)
	}
}

// serialise writes what gopacket decoded. What it has no layer for goes out as it
// was read.
func serialise(t *rapid.T, p gopacket.Packet) []byte {
	var list []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	rest := p.Data()
	for _, l := range p.Layers() {
		s, ok := l.(gopacket.SerializableLayer)
		if _, raw := l.(*gopacket.Payload); !ok || raw {
			break
		}
		switch l := l.(type) {
		case *layers.IPv4:
			network = l
		case *layers.IPv6:
			network = l
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(network)
		case *layers.UDP:
			_ = l.SetNetworkLayerForChecksum(network)
		case *layers.ICMPv6:
			_ = l.SetNetworkLayerForChecksum(network)
		}
		list = append(list, s)
		rest = l.LayerPayload()
		if t := l.LayerType(); t == layers.LayerTypeTCP || t == layers.LayerTypeUDP || t == layers.LayerTypeICMPv4 || t == layers.LayerTypeICMPv6 || t == layers.LayerTypeIPv6Fragment {
			break
		}
	}
	buf := gopacket.NewSerializeBuffer()
	list = append(list, gopacket.Payload(rest))
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatalf("gopacket: %v", err)
	}
	return buf.Bytes()
}
