package ppftest

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// The ends that packets of Segment go between, by IP version.
var (
	Client4 = netip.MustParseAddrPort("192.0.2.1:40000")
	Server4 = netip.MustParseAddrPort("203.0.113.1:80")
	Client6 = netip.MustParseAddrPort("[2001:db8:1::1]:40000")
	Server6 = netip.MustParseAddrPort("[2001:db8:2::1]:80")
)

// Instance is a TCP instance for the ends above.
func Instance(name string, chain ...string) ppf.InstanceSpec {
	return ppf.InstanceSpec{
		Name: name, Hook: ppf.Forward, Chain: [2][]string{chain, chain},
		Match: ppf.Match{Protocol: packet.ProtoTCP, Server: []netip.Prefix{
			netip.PrefixFrom(Server4.Addr(), 32), netip.PrefixFrom(Server6.Addr(), 128)}},
	}
}

// Header is that of an end that has sent nothing but its SYN, as yet or now: iss
// is its initial number, irs the other's.
func Header(f packet.TCPFlags, iss, irs packet.Seq) packet.TCP {
	h := packet.TCP{Flags: f, Seq: iss, Window: 32768}
	if f&packet.SYN == 0 {
		h.Seq++
	}
	if f&packet.ACK != 0 {
		h.Ack = irs + 1
	}
	return h
}

// Segment is a TCP segment to build, as a hostile sender could: Edit changes
// the TCP header before the checksum is computed, EditIP the IP header.
type Segment struct {
	Src, Dst netip.AddrPort
	packet.TCP
	Payload []byte
	IP      packet.IPv4 // TOS, TTL, ID and DF for IPv4
	Edit    func(tcp []byte) []byte
	EditIP  func(ip []byte) []byte
}

// Bytes builds the packet.
func (s Segment) Bytes(t testing.TB) []byte {
	t.Helper()
	var out packet.Out
	v6 := s.Src.Addr().Is6()
	if s.IP.TTL == 0 {
		s.IP.TTL = 64
	}
	s.IP.Src, s.IP.Dst = s.Src.Addr(), s.Dst.Addr()
	if v6 {
		out.SetIPv6(packet.IPv6{HopLimit: s.IP.TTL, TrafficClass: s.IP.TOS, Src: s.Src.Addr(), Dst: s.Dst.Addr()})
	} else {
		out.SetIPv4(s.IP)
	}
	h := s.TCP
	h.SrcPort, h.DstPort = s.Src.Port(), s.Dst.Port()
	urgent := h.Flags & packet.URG
	h.Flags &^= packet.URG
	out.SetTCP(h)
	out.SetPayload(s.Payload)
	head, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	n := packet.IPv4MinLen
	if v6 {
		n = packet.IPv6Len
	}
	ip, tcp := slices.Clone(head[:n]), slices.Concat(head[n:], s.Payload)
	tcp[13] |= byte(urgent)
	if s.Edit != nil {
		tcp = s.Edit(tcp)
	}
	return Join(ip, tcp, s.EditIP)
}

// Join puts an IP header and a TCP segment together, with lengths and checksums
// as they must be, whatever the segment is.
func Join(ip, tcp []byte, edit func([]byte) []byte) []byte {
	if edit != nil {
		ip = edit(ip)
	}
	if ip[0]>>4 == 4 {
		ip[0] = 4<<4 | byte(len(ip)/4)
		put16(ip[2:], uint16(len(ip)+len(tcp)))
		put16(ip[10:], 0)
		put16(ip[10:], packet.SumBytes(ip).Checksum())
	} else {
		put16(ip[4:], uint16(len(ip)-packet.IPv6Len+len(tcp)))
	}
	if len(tcp) >= 18 {
		put16(tcp[16:], 0)
		put16(tcp[16:], pseudo(ip, len(tcp)).Add(packet.SumBytes(tcp)).Checksum())
	}
	return slices.Concat(ip, tcp)
}

func pseudo(ip []byte, length int) packet.Sum { return pseudoOf(ip, packet.ProtoTCP, length) }

func pseudoOf(ip []byte, proto packet.Protocol, length int) packet.Sum {
	if len(ip) >= packet.IPv6Len && ip[0]>>4 == 6 {
		return packet.PseudoSum6([16]byte(ip[8:24]), [16]byte(ip[24:40]), proto, length)
	}
	return packet.PseudoSum4([4]byte(ip[12:16]), [4]byte(ip[16:20]), proto, length)
}

func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }
