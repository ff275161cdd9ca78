// Package sidebyside tells a received packet and the one sent in its place field
// by field, for people.
package sidebyside

import (
	"fmt"
	"strings"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Line is one field of both packets. A packet that does not have it, or of which
// it could not be read, shows "".
type Line struct {
	Field    string `json:"field"`
	Received string `json:"received"`
	Sent     string `json:"sent"`
	Changed  bool   `json:"changed"`
}

// Compare lists the fields of both packets of a pair, in the order of their
// headers. Where nothing was sent every Sent is "", and nothing counts as changed.
func Compare(p ppf.Pair) []Line {
	received := fields(p.Ethernet, p.Received, p.ReceivedLen)
	var lines []Line
	for _, f := range received {
		lines = append(lines, Line{Field: f.name, Received: f.value})
	}
	if p.SentLen == 0 {
		return lines
	}
	at := 0
	for _, f := range fields(p.Ethernet, p.Sent, p.SentLen) {
		i := find(lines, f.name)
		if i < 0 {
			// A field of the sent packet alone stands behind the one before it.
			lines = append(lines[:at], append([]Line{{Field: f.name}}, lines[at:]...)...)
			i = at
		}
		lines[i].Sent = f.value
		at = i + 1
	}
	for i := range lines {
		lines[i].Changed = lines[i].Received != lines[i].Sent
	}
	return lines
}

func find(lines []Line, field string) int {
	for i := range lines {
		if lines[i].Field == field {
			return i
		}
	}
	return -1
}

type field struct{ name, value string }

type reader struct{ list []field }

func (r *reader) add(name, format string, args ...any) {
	r.list = append(r.list, field{name, fmt.Sprintf(format, args...)})
}

// fields reads what it understands of a packet of which the first bytes are kept.
// What was cut reads as zeros: no header is that long.
func fields(ethernet bool, b []byte, length int) []field {
	whole := make([]byte, max(length, len(b)))
	copy(whole, b)
	link := packet.LinkRawIP
	if ethernet {
		link = packet.LinkEthernet
	}
	var p packet.Packet
	var r reader
	reason := p.Parse(link, whole)
	r.link(&p)
	r.network(&p)
	r.transport(&p)
	if reason != packet.ReasonNone {
		r.add("cannot be read", "%v", reason)
	}
	r.add("length", "%d", length)
	return r.list
}

func (r *reader) link(p *packet.Packet) {
	if p.Has(packet.HasEthernet) {
		e := p.Ethernet()
		r.add("eth.dst", "%v", e.Dst())
		r.add("eth.src", "%v", e.Src())
		r.add("eth.type", "%v", e.Type())
	}
	for i, v := range p.VLANs() {
		r.add(fmt.Sprintf("vlan[%d]", i), "%d priority %d", v.VID(), v.PCP())
	}
	if p.Has(packet.HasARP) {
		a := p.ARP()
		r.add("arp.operation", "%v", a.Op())
		r.add("arp.sender", "%v %v", a.SenderIP(), a.SenderMAC())
		r.add("arp.target", "%v %v", a.TargetIP(), a.TargetMAC())
	}
}

func (r *reader) network(p *packet.Packet) {
	if p.Has(packet.HasIPv4) {
		ip := p.IPv4()
		r.add("ip.header length", "%d", ip.HeaderLen())
		r.add("ip.tos", "%#02x", ip.TOS())
		r.add("ip.total length", "%d", ip.TotalLen())
		r.add("ip.id", "%d", ip.ID())
		r.add("ip.fragment", "%s", fragment(ip))
		r.add("ip.ttl", "%d", ip.TTL())
		r.add("ip.protocol", "%v", ip.Protocol())
		r.add("ip.checksum", "%#04x", ip.Checksum())
		r.add("ip.src", "%v", ip.Src())
		r.add("ip.dst", "%v", ip.Dst())
		r.add("ip.options", "%s", bytesText(ip.Options()))
	}
	if p.Has(packet.HasIPv6) {
		ip := p.IPv6()
		r.add("ipv6.traffic class", "%#02x", ip.TrafficClass())
		r.add("ipv6.flow label", "%#05x", ip.FlowLabel())
		r.add("ipv6.payload length", "%d", ip.PayloadLen())
		r.add("ipv6.next header", "%v", ip.NextHeader())
		r.add("ipv6.hop limit", "%d", ip.HopLimit())
		r.add("ipv6.src", "%v", ip.Src())
		r.add("ipv6.dst", "%v", ip.Dst())
		for i, ext := 0, p.Ext(); i < ext.Len(); i++ {
			e := ext.At(i)
			r.add("ipv6."+e.Protocol.String(), "%s", bytesText(ip.Payload()[e.Offset:e.Offset+e.Len]))
		}
	}
}

func fragment(ip packet.IPv4View) string {
	var flags []string
	for _, f := range []struct {
		set  bool
		name string
	}{{ip.ReservedFlag(), "reserved"}, {ip.DF(), "DF"}, {ip.MF(), "MF"}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	if ip.FragOffset() > 0 {
		flags = append(flags, fmt.Sprintf("offset %d", ip.FragOffset()))
	}
	if len(flags) == 0 {
		return "none"
	}
	return strings.Join(flags, " ")
}

// bytesText is hexadecimal, "none" for nothing.
func bytesText(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return fmt.Sprintf("% x", b)
}

func (r *reader) transport(p *packet.Packet) {
	switch {
	case p.Has(packet.HasTCP):
		t := p.TCP()
		r.add("tcp.src port", "%d", t.SrcPort())
		r.add("tcp.dst port", "%d", t.DstPort())
		r.add("tcp.seq", "%d", t.Seq())
		r.add("tcp.ack", "%d", t.Ack())
		r.add("tcp.header length", "%d", t.HeaderLen())
		r.add("tcp.reserved", "%d", t.Reserved())
		r.add("tcp.flags", "%v", t.Flags())
		r.add("tcp.window", "%d", t.Window())
		r.add("tcp.checksum", "%#04x", t.Checksum())
		r.add("tcp.urgent", "%d", t.Urgent())
		r.add("tcp.options", "%s", tcpOptions(t))
	case p.Has(packet.HasUDP):
		u := p.UDP()
		r.add("udp.src port", "%d", u.SrcPort())
		r.add("udp.dst port", "%d", u.DstPort())
		r.add("udp.length", "%d", u.Length())
		r.add("udp.checksum", "%#04x", u.Checksum())
	case p.Has(packet.HasICMPv4):
		i := p.ICMPv4()
		r.add("icmp.type", "%d code %d", i.Type(), i.Code())
		r.add("icmp.checksum", "%#04x", i.Checksum())
	case p.Has(packet.HasICMPv6):
		i := p.ICMPv6()
		r.add("icmpv6.type", "%d code %d", i.Type(), i.Code())
		r.add("icmpv6.checksum", "%#04x", i.Checksum())
	}
	if p.Has(packet.HasTCP | packet.HasUDP | packet.HasICMPv4 | packet.HasICMPv6) {
		r.add("payload", "%d bytes", len(p.Payload()))
	}
}

// tcpOptions names what is understood, and shows all bytes: their order is a
// finding by itself.
func tcpOptions(t packet.TCPView) string {
	text := bytesText(t.Options())
	var o packet.TCPOptions
	if t.ParseOptions(&o) == packet.ReasonNone && o.Has != 0 {
		text += fmt.Sprintf(" (%v)", o.Has)
	}
	return text
}
