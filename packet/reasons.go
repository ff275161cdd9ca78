package packet

// What the parse gates and checksum checks find.
var (
	ReasonFrameTruncated = gate("frame.truncated", "frame.length", "", "the frame is shorter than an Ethernet header", "CVE-2020-11906")
	ReasonVLANTruncated  = gate("vlan.truncated", "frame.length", "", "the frame ends inside a VLAN tag")
	ReasonVLANDepth      = gate("vlan.depth", "vlan.tags", "", "the frame has more than two VLAN tags")
	ReasonARPTruncated   = gate("arp.truncated", "arp.length", "826", "the ARP packet is too short", "CVE-2020-11914")
	ReasonARPFormat      = gate("arp.format", "arp.hardware-type", "826", "the ARP packet is not IPv4 over Ethernet")

	ReasonIPVersion      = gate("ip.version", "ip.version", "791 §3.1", "the IP version is neither 4 nor 6, or does not fit the frame")
	ReasonIPTruncated    = gate("ip.truncated", "ip.length", "791 §3.1", "the packet is shorter than an IPv4 header")
	ReasonIPHeaderLength = gate("ip.header-length", "ip.ihl", "791 §3.1", "the IPv4 header length is below 20 bytes or beyond the packet")
	ReasonIPTotalLength  = gate("ip.total-length", "ip.total-length", "791 §3.1", "the IPv4 total length is below the header's or beyond the packet", "CVE-2020-13987", "CVE-2021-31401", "CVE-2020-11907")
	ReasonIPChecksum     = gate("ip.checksum", "ip.checksum", "791 §3.1", "the IPv4 header checksum is wrong")
	ReasonIPOption       = gate("ip.option.malformed", "ip.option.length", "791 §3.1", "an IPv4 option's length is below 2 or beyond the header", "CVE-2019-12256")
	ReasonIPSourceRoute  = gate("ip.option.source-route", "ip.option.kind", "7126 §4.3", "the packet carries a source route", "CVE-2020-11909")
	ReasonIPFragment     = NewReason("packet", ReasonInfo{Name: "ip.fragment", Field: "ip.fragment-offset", RFC: "8900",
		Doc: "a fragment, where a whole packet is needed", CVE: []string{"CVE-2020-11896", "CVE-2020-11898", "CVE-2020-17438"},
		Trips: "peers that fragment instead of using path MTU discovery", Relax: "mode: monitor, or an MSS that fits the path"})

	ReasonIP6Truncated     = gate("ip6.truncated", "ip6.length", "8200 §3", "the packet is shorter than an IPv6 header", "CVE-2020-11913")
	ReasonIP6PayloadLength = gate("ip6.payload-length", "ip6.payload-length", "8200 §3", "the IPv6 payload length is beyond the packet", "CVE-2020-17441", "CVE-2020-13987")
	ReasonIP6Jumbogram     = gate("ip6.jumbogram", "ip6.payload-length", "2675", "the payload length is 0 although more follows (a jumbogram)")
	ReasonIP6ExtTruncated  = gate("ip6.extension.truncated", "ip6.extension.length", "8200 §4", "an extension header goes beyond the packet", "CVE-2020-13984", "CVE-2020-17444", "CVE-2020-25112")
	ReasonIP6ExtMany       = gate("ip6.extension.too-many", "ip6.extension.count", "8504 §5.3", "more than 8 extension headers", "CVE-2021-24086")
	ReasonIP6ExtOrder      = gate("ip6.extension.order", "ip6.next-header", "8200 §4.1", "a hop-by-hop header that does not come first, or an extension header twice", "CVE-2021-24086")
	ReasonIP6ExtOption     = gate("ip6.extension.option", "ip6.option.length", "8200 §4.2", "an option goes beyond its extension header", "CVE-2020-17442", "CVE-2020-17445", "CVE-2020-17468", "CVE-2021-25663")
	ReasonIP6RoutingType0  = gate("ip6.extension.routing", "ip6.routing.type", "5095 §3", "a routing header", "CVE-2020-11897", "CVE-2020-13985")

	ReasonICMPTruncated = gate("icmp.truncated", "icmp.length", "792", "the ICMP message is shorter than 8 bytes", "CVE-2020-17443", "CVE-2020-35683", "CVE-2021-31346")
	ReasonICMPChecksum  = gate("icmp.checksum", "icmp.checksum", "792", "the ICMP checksum is wrong")
	ReasonICMPQuote     = gate("icmp.quote", "icmp.quoted", "1122 §3.2.2", "the ICMP error quotes less than an IP header and 8 bytes", "CVE-2020-11898")

	ReasonTCPTruncated   = gate("tcp.truncated", "tcp.length", "9293 §3.1", "the segment is shorter than a TCP header", "CVE-2020-35684", "CVE-2021-31890", "CVE-2020-13987")
	ReasonTCPDataOffset  = gate("tcp.data-offset", "tcp.data-offset", "9293 §3.1", "the data offset is below 5 or beyond the segment", "CVE-2020-24341")
	ReasonTCPChecksum    = gate("tcp.checksum", "tcp.checksum", "9293 §3.1", "the TCP checksum is wrong")
	ReasonTCPOptionZero  = gate("tcp.option.length-zero", "tcp.option.length", "9293 §3.1", "an option has length 0", "CVE-2020-24337", "CVE-2020-13988")
	ReasonTCPOptionOne   = gate("tcp.option.length-short", "tcp.option.length", "9293 §3.1", "an option has length 1", "CVE-2019-12260")
	ReasonTCPOptionEnd   = gate("tcp.option.beyond-end", "tcp.option.length", "9293 §3.1", "an option goes beyond the header", "CVE-2020-13988", "CVE-2020-11912", "CVE-2021-31889")
	ReasonTCPOptionSize  = gate("tcp.option.length-wrong", "tcp.option.length", "9293 §3.2", "a known option has a length that its kind does not allow", "CVE-2019-12258", "CVE-2020-11912", "CVE-2021-31889")
	ReasonTCPOptionTwice = gate("tcp.option.duplicate", "tcp.option.kind", "9293 §3.1", "an option stands twice")

	ReasonUDPTruncated = gate("udp.truncated", "udp.length", "768", "the datagram is shorter than a UDP header", "CVE-2021-31345")
	ReasonUDPLength    = gate("udp.length", "udp.length", "768", "the UDP length differs from what the IP header leaves", "CVE-2021-31345", "CVE-2020-13987")
	ReasonUDPChecksum  = gate("udp.checksum", "udp.checksum", "768", "the UDP checksum is wrong, or 0 on IPv6")
)

// gate registers a contradiction that no legitimate traffic shows.
func gate(name, field, rfc, doc string, cve ...string) Reason {
	return NewReason("packet", ReasonInfo{Name: name, Field: field, RFC: rfc, Doc: doc, CVE: cve, Trips: "none known"})
}
