package lab

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Kind is what a judge finds wrong with a packet.
type Kind string

// The kinds that JudgeFrames reports. TsharkJudge has KindTshark only.
const (
	KindDecode     Kind = "decode"   // the decoder gives up, or a length goes beyond the packet
	KindTrailing   Kind = "trailing" // bytes after the IP length, other than minimum-frame padding
	KindIPSum      Kind = "ip.checksum"
	KindIPFlags    Kind = "ip.reserved"      // the reserved flag
	KindIPOptions  Kind = "ip.options"       // any
	KindExtension  Kind = "ip6.extension"    // any header but a fragment's
	KindFragment   Kind = "ip.fragment"      // IPv4 or IPv6
	KindDFID       Kind = "ip.df-id"         // DF set and an ID that is neither 0 nor counts up from 0
	KindDFIDCount  Kind = "ip.df-id-counted" // DF set and an ID that counts up from 0 within its flow: cut from one super-packet
	KindTCPSum     Kind = "tcp.checksum"
	KindTCPFlags   Kind = "tcp.flags"     // a combination that no TCP sends
	KindTCPUrgent  Kind = "tcp.urgent"    // URG, or an urgent pointer
	KindTCPBits    Kind = "tcp.reserved"  // any of the four reserved bits
	KindTCPOptions Kind = "tcp.options"   // cannot be walked, a length that the kind does not have, one twice, or bytes after their end
	KindUDPSum     Kind = "udp.checksum"  // wrong, or absent on IPv6
	KindUDPLength  Kind = "udp.length"    // not what the IP header leaves
	KindICMPSum    Kind = "icmp.checksum" // ICMP or ICMPv6
	KindCanonical  Kind = "canonical"     // P2: differs from what the decoder writes for what it has read
	KindTshark     Kind = "tshark"        // as tshark puts it
)

// Finding is one thing wrong with one packet.
type Finding struct {
	Frame  int // from 1, as in tshark
	Kind   Kind
	Detail string
}

// String is for people.
func (f Finding) String() string { return fmt.Sprintf("frame %d: %s: %s", f.Frame, f.Kind, f.Detail) }

// JudgeFrames judges Ethernet frames with gopacket's decoders, which know nothing
// of ours: what it finds is wrong, or is nothing that the proxy may send. Findings
// of the kinds to ignore are left out. It looks at layers 2 to 4: ARP, IPv4, IPv6, TCP,
// UDP, ICMP; other ethertypes and protocols only as far as their carrier goes. Router
// alerts of the hosts' own IGMP and MLD reports, which never leave a link, are no
// finding. Plain hosts number packets that have DF (KindDFID); a proxy does not. A layer-4
// checksum that is pending (Frame.ChecksumPending) is not judged: capture with
// NoOffloads.
func JudgeFrames(frames []Frame, ignore ...Kind) []Finding {
	j := judge{ignore: ignore, nextID: map[idFlow]uint16{}}
	for i, f := range frames {
		j.frame, j.pending = i+1, f.ChecksumPending
		j.judge(bytes.Clone(f.Data)) // the decoder's checksum functions append to slices of it
	}
	return j.findings
}

// JudgeFile is JudgeFrames for a pcap or pcapng file.
func JudgeFile(path string, ignore ...Kind) ([]Finding, error) {
	frames, err := ReadCapture(path)
	if err != nil {
		return nil, err
	}
	return JudgeFrames(frames, ignore...), nil
}

type judge struct {
	ignore    []Kind
	findings  []Finding
	frame     int
	pending   bool
	truncated bool
	nextID    map[idFlow]uint16
}

// idFlow tells flows apart in which segments of a super-packet are numbered.
type idFlow struct {
	src, dst string
	proto    layers.IPProtocol
	ports    [4]byte
}

func (j *judge) found(kind Kind, format string, args ...any) {
	if !slices.Contains(j.ignore, kind) {
		j.findings = append(j.findings, Finding{j.frame, kind, fmt.Sprintf(format, args...)})
	}
}

// SetTruncated makes the judge a gopacket.DecodeFeedback.
func (j *judge) SetTruncated() { j.truncated = true }

// decoder is what all layers have (not all are a gopacket.DecodingLayer).
type decoder interface {
	DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error
	LayerType() gopacket.LayerType
}

// decodes runs a decoder and reports what it says.
func (j *judge) decodes(l decoder, data []byte) bool {
	j.truncated = false
	if err := l.DecodeFromBytes(data, j); err != nil {
		j.found(KindDecode, "%v: %v", l.LayerType(), err)
		return false
	}
	if j.truncated {
		j.found(KindDecode, "%v: the declared length goes beyond the packet", l.LayerType())
		return false
	}
	return true
}

// checksum verifies a layer's checksum.
func (j *judge) checksum(kind Kind, l gopacket.LayerWithChecksum) {
	if j.pending && kind != KindIPSum {
		return
	}
	err, result := l.VerifyChecksum()
	switch {
	case err != nil:
		j.found(kind, "%v", err)
	case !result.Valid:
		j.found(kind, "0x%04x, want 0x%04x", result.Actual, result.Correct)
	}
}

// canonical compares what arrived with what the decoder writes.
func (j *judge) canonical(got []byte, stack ...gopacket.SerializableLayer) {
	if j.pending {
		return
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		j.found(KindCanonical, "cannot be written again: %v", err)
		return
	}
	want := buf.Bytes()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	j.found(KindCanonical, "differs from byte %d on: %x, want %x", at, head(got[at:]), head(want[at:]))
}

func head(b []byte) []byte { return b[:min(len(b), 16)] }

func (j *judge) judge(frame []byte) {
	var eth layers.Ethernet
	if !j.decodes(&eth, frame) {
		return
	}
	next, payload := eth.EthernetType, eth.Payload
	for next == layers.EthernetTypeDot1Q || next == layers.EthernetTypeQinQ {
		var tag layers.Dot1Q
		if !j.decodes(&tag, payload) {
			return
		}
		next, payload = tag.Type, tag.Payload
	}
	switch next {
	case layers.EthernetTypeARP:
		var arp layers.ARP
		if j.decodes(&arp, payload) {
			j.trailing(frame, payload, len(arp.Contents))
			j.canonical(payload[:len(arp.Contents)], &arp)
		}
	case layers.EthernetTypeIPv4:
		j.judge4(frame, payload)
	case layers.EthernetTypeIPv6:
		j.judge6(frame, payload)
	}
}

// minFrame is the least Ethernet frame without its checksum (IEEE 802.3 §4.2.3.3).
const minFrame = 60

// trailing looks at what follows the packet's declared length.
func (j *judge) trailing(frame, payload []byte, length int) {
	rest := payload[min(length, len(payload)):]
	if len(rest) > 0 && (len(frame) > minFrame || len(bytes.Trim(rest, "\x00")) > 0) {
		j.found(KindTrailing, "%d bytes after the packet: %x", len(rest), head(rest))
	}
}

func (j *judge) judge4(frame, b []byte) {
	var ip layers.IPv4
	if !j.decodes(&ip, b) {
		return
	}
	length := len(ip.Contents) + len(ip.Payload)
	j.trailing(frame, b, length)
	j.checksum(KindIPSum, &ip)
	if ip.Flags&layers.IPv4EvilBit != 0 {
		j.found(KindIPFlags, "the reserved flag is set")
	}
	if len(ip.Options) > 0 && !(ip.Protocol == layers.IPProtocolIGMP && ip.TTL == 1) {
		j.found(KindIPOptions, "%x", ip.Contents[20:])
	}
	j.dontFragmentID(&ip)
	if ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0 {
		j.found(KindFragment, "offset %d, flags %v, ID 0x%04x", int(ip.FragOffset)*8, ip.Flags, ip.Id)
		j.canonical(b[:length], &ip, gopacket.Payload(ip.Payload))
		return
	}
	l4 := j.layer4(ip.Protocol, &ip, ip.Payload)
	j.canonical(b[:length], append([]gopacket.SerializableLayer{&ip}, l4...)...)
}

// dontFragmentID judges the ID of packets that cannot be fragments (RFC 6864).
func (j *judge) dontFragmentID(ip *layers.IPv4) {
	if ip.Flags&layers.IPv4DontFragment == 0 {
		return
	}
	flow := idFlow{src: string(ip.SrcIP), dst: string(ip.DstIP), proto: ip.Protocol}
	copy(flow.ports[:], ip.Payload)
	switch next, known := j.nextID[flow]; {
	case ip.Id == 0:
	case known && ip.Id == next:
		j.found(KindDFIDCount, "ID 0x%04x with DF", ip.Id)
	default:
		j.found(KindDFID, "ID 0x%04x with DF", ip.Id)
		delete(j.nextID, flow)
		return
	}
	j.nextID[flow] = ip.Id + 1
}

func (j *judge) judge6(frame, b []byte) {
	var ip layers.IPv6
	if !j.decodes(&ip, b) {
		return
	}
	j.trailing(frame, b, len(ip.Contents)+int(ip.Length))
	next, payload, extended := ip.NextHeader, ip.Payload, ip.HopByHop != nil
	if extended {
		next = ip.HopByHop.NextHeader
		if next != layers.IPProtocolICMPv6 || ip.HopLimit != 1 {
			j.found(KindExtension, "hop-by-hop options")
		}
	}
	if next == layers.IPProtocolIPv6Destination {
		j.found(KindExtension, "%v", next)
		var options layers.IPv6Destination
		if !j.decodes(&options, payload) {
			return
		}
		next, payload, extended = options.NextHeader, options.LayerPayload(), true
	}
	switch next {
	case layers.IPProtocolIPv6Fragment:
		var fragment layers.IPv6Fragment
		if j.decodes(&fragment, payload) {
			j.found(KindFragment, "offset %d, more %v, ID 0x%08x", int(fragment.FragmentOffset)*8, fragment.MoreFragments, fragment.Identification)
		}
		return
	case layers.IPProtocolIPv6Destination, layers.IPProtocolIPv6Routing, layers.IPProtocolAH, layers.IPProtocolESP:
		j.found(KindExtension, "%v", next)
		return
	}
	l4 := j.layer4(next, &ip, payload)
	if extended { // the other decoder pads in its own way
		return
	}
	j.canonical(b[:len(ip.Contents)+int(ip.Length)], append([]gopacket.SerializableLayer{&ip}, l4...)...)
}

// layer4 judges a whole datagram and gives the layers to write again; what
// cannot be decoded stands as bytes.
func (j *judge) layer4(proto layers.IPProtocol, ip gopacket.NetworkLayer, b []byte) []gopacket.SerializableLayer {
	switch proto {
	case layers.IPProtocolTCP:
		var tcp layers.TCP
		if !j.decodes(&tcp, b) || tcp.SetNetworkLayerForChecksum(ip) != nil {
			break
		}
		j.checksum(KindTCPSum, &tcp)
		j.tcp(&tcp)
		return []gopacket.SerializableLayer{&tcp, gopacket.Payload(tcp.Payload)}
	case layers.IPProtocolUDP:
		var udp layers.UDP
		if !j.decodes(&udp, b) || udp.SetNetworkLayerForChecksum(ip) != nil {
			break
		}
		if int(udp.Length) != len(b) {
			j.found(KindUDPLength, "%d, the IP header leaves %d", udp.Length, len(b))
			break
		}
		_, v6 := ip.(*layers.IPv6)
		if udp.Checksum == 0 {
			if v6 {
				j.found(KindUDPSum, "absent on IPv6")
			}
			break // written again it would have one
		}
		j.checksum(KindUDPSum, &udp)
		return []gopacket.SerializableLayer{&udp, gopacket.Payload(udp.Payload)}
	case layers.IPProtocolICMPv4:
		var icmp layers.ICMPv4
		if !j.decodes(&icmp, b) {
			break
		}
		j.checksum(KindICMPSum, &icmp)
		return []gopacket.SerializableLayer{&icmp, gopacket.Payload(icmp.Payload)}
	case layers.IPProtocolICMPv6:
		var icmp layers.ICMPv6
		if !j.decodes(&icmp, b) || icmp.SetNetworkLayerForChecksum(ip) != nil {
			break
		}
		j.checksum(KindICMPSum, &icmp)
		return []gopacket.SerializableLayer{&icmp, gopacket.Payload(icmp.Payload)}
	}
	return []gopacket.SerializableLayer{gopacket.Payload(b)}
}

func (j *judge) tcp(t *layers.TCP) {
	if bits := t.Contents[12] & 0x0f; bits != 0 {
		j.found(KindTCPBits, "0x%x", bits)
	}
	if t.URG || t.Urgent != 0 {
		j.found(KindTCPUrgent, "URG %v, pointer %d", t.URG, t.Urgent)
	}
	// RFC 9293 §3.10.7: what no state sends.
	if t.SYN && t.FIN || t.SYN && t.RST || t.FIN && t.RST || !t.SYN && !t.RST && !t.ACK {
		j.found(KindTCPFlags, "0x%02x", t.Contents[13])
	}
	j.tcpOptions(t)
}

// tcpOptionLengths are those that a kind may have, with the kind and length
// bytes; kinds that are not here may have any.
var tcpOptionLengths = map[layers.TCPOptionKind][]uint8{
	layers.TCPOptionKindMSS:           {4},
	layers.TCPOptionKindWindowScale:   {3},
	layers.TCPOptionKindSACKPermitted: {2},
	layers.TCPOptionKindSACK:          {10, 18, 26, 34},
	layers.TCPOptionKindTimestamps:    {10},
}

func (j *judge) tcpOptions(t *layers.TCP) {
	seen := map[layers.TCPOptionKind]bool{}
	for _, o := range t.Options {
		if o.OptionType == layers.TCPOptionKindEndList || o.OptionType == layers.TCPOptionKindNop {
			continue
		}
		if want := tcpOptionLengths[o.OptionType]; want != nil && !slices.Contains(want, o.OptionLength) {
			j.found(KindTCPOptions, "%v has length %d", o.OptionType, o.OptionLength)
		}
		if seen[o.OptionType] && o.OptionType != layers.TCPOptionKindMultipathTCP {
			j.found(KindTCPOptions, "%v stands twice", o.OptionType)
		}
		seen[o.OptionType] = true
	}
	// The decoder keeps what it cannot walk over, and what follows the end of the
	// list, as padding.
	if rest := bytes.TrimLeft(t.Padding, "\x00"); len(rest) > 0 {
		j.found(KindTCPOptions, "not to be read: %x", head(rest))
	}
}
