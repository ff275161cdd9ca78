package packet

// What the parse gates, walks and checksum checks find. They are contradictions
// of one header with itself or with the one around it; what a packet means is
// for modules to judge. None has a safe repair.
var (
	ReasonFrameTruncated = gate("frame.truncated", "frame.length", "", "the frame is shorter than an Ethernet header", "CVE-2020-11906")
	ReasonVLANTruncated  = gate("vlan.truncated", "frame.length", "", "the frame ends inside a VLAN tag")
	ReasonVLANDepth      = gate("vlan.depth", "vlan.tags", "", "the frame has more than two VLAN tags")

	ReasonARPTruncated = gate("arp.truncated", "arp.length", "826", "the frame ends inside the ARP packet", "CVE-2020-11914")
	ReasonARPHardware  = gate("arp.hardware", "arp.hardware-type", "826", "hardware type or address length of the ARP packet is not Ethernet's", "CVE-2020-11914")
	ReasonARPProtocol  = gate("arp.protocol", "arp.protocol-type", "826", "protocol type or address length of the ARP packet is not IPv4's", "CVE-2020-11914")

	ReasonIGMPTruncated = gate("igmp.truncated", "igmp.length", "3376 §4", "the packet ends inside the IGMP message")

	ReasonIPVersion = gate("ip.version", "ip.version", "791 §3.1",
		"the IP version is neither 4 nor 6, or is not the one that the frame announces")
	ReasonIPTruncated    = gate("ip.truncated", "ip.length", "791 §3.1", "the packet is shorter than an IPv4 header")
	ReasonIPHeaderLength = gate("ip.header-length", "ip.ihl", "791 §3.1",
		"the IPv4 header length is below 20 bytes or goes beyond the packet", "CVE-2020-11898")
	ReasonIPTotalLength = register(ReasonInfo{Name: "ip.total-length", Field: "ip.total-length", RFC: "791 §3.1",
		Doc: "the IPv4 total length is below the header's or goes beyond the packet",
		CVE: []string{
			"CVE-2020-11907", "CVE-2020-13987", "CVE-2020-35683", "CVE-2020-35684", "CVE-2021-31345", "CVE-2021-31346", "CVE-2021-31401", "CVE-2021-31890",
		},
		Trips: tripsBigTCP, Relax: relaxBigTCP})
	ReasonIPChecksum    = gate("ip.checksum", "ip.checksum", "791 §3.1", "the IPv4 header checksum is wrong")
	ReasonIPOptionZero  = gate("ip.option.length-zero", "ip.option.length", "791 §3.1", "an IPv4 option has length 0", "CVE-2019-12256")
	ReasonIPOptionShort = gate("ip.option.length-short", "ip.option.length", "791 §3.1",
		"an IPv4 option has length 1, which does not cover its own length byte", "CVE-2019-12256")
	ReasonIPOptionEnd = gate("ip.option.beyond-end", "ip.option.length", "791 §3.1",
		"an IPv4 option goes beyond the header", "CVE-2019-12256", "CVE-2021-31344")
	ReasonIPOptionSize = gate("ip.option.length-wrong", "ip.option.length", "791 §3.1",
		"a known IPv4 option has a length that its type does not allow", "CVE-2019-12256")
	ReasonIPSourceRoute = register(ReasonInfo{Name: "ip.option.source-route", Field: "ip.option.type", RFC: "7126 §4.3",
		Doc: "the packet carries a loose or strict source route", CVE: []string{"CVE-2020-11909", "CVE-2019-12256"},
		Trips: "traceroute with gateways given (-g)", Relax: "reasons: {ip.option.source-route: monitor}"})
	ReasonIPFragment = register(ReasonInfo{Name: "ip.fragment", Field: "ip.fragment-offset", RFC: "8900 §3",
		Doc:   "a fragment, where a whole packet is needed",
		CVE:   []string{"CVE-2020-11896", "CVE-2020-11898", "CVE-2020-11907", "CVE-2020-17438", "CVE-2020-17469", "CVE-2019-12265", "CVE-2024-38063", "CVE-2021-24086"},
		Trips: "peers that fragment instead of using path MTU discovery", Relax: "reasons: {ip.fragment: monitor}, or an MSS that fits the path"})
	ReasonIPFragmentEnd = gate("ip.fragment.beyond-end", "ip.fragment-offset", "791 §3.2",
		"a fragment goes beyond the greatest length of a packet, 65,535 bytes", "CVE-2020-17438")
	ReasonIPFragmentLength = gate("ip.fragment.length", "ip.fragment-length", "791 §3.2",
		"a fragment that others follow is empty or not a multiple of 8 bytes long", "CVE-2020-17438", "CVE-2020-17469")

	ReasonIP6Truncated     = gate("ip6.truncated", "ip6.length", "8200 §3", "the packet is shorter than an IPv6 header", "CVE-2020-11913")
	ReasonIP6PayloadLength = gate("ip6.payload-length", "ip6.payload-length", "8200 §3",
		"the IPv6 payload length goes beyond the packet",
		"CVE-2020-11897", "CVE-2020-11913", "CVE-2020-13987", "CVE-2020-17441", "CVE-2020-27336", "CVE-2020-27337")
	ReasonIP6Jumbogram = register(ReasonInfo{Name: "ip6.jumbogram", Field: "ip6.payload-length", RFC: "2675 §3",
		Doc:   "the payload length is 0 although a payload follows, as in a jumbogram, or an option tells a jumbogram's length",
		Trips: tripsBigTCP, Relax: relaxBigTCP})
	ReasonIP6ExtTruncated = gate("ip6.extension.truncated", "ip6.extension.length", "8200 §4",
		"an extension header goes beyond the packet",
		"CVE-2020-13984", "CVE-2020-13985", "CVE-2020-13986", "CVE-2020-17444", "CVE-2020-25112", "CVE-2021-25663")
	ReasonIP6ExtMany = gate("ip6.extension.too-many", "ip6.extension.count", "8504 §5.3",
		"more than 8 extension headers, more than 8 options in one of them, or more than 256 bytes of headers before a fragment header or to be carried over",
		"CVE-2021-24086")
	ReasonIP6ExtOrder = gate("ip6.extension.order", "ip6.next-header", "8200 §4.1",
		"a hop-by-hop header that does not come first, or an extension header more often than allowed", "CVE-2021-24086")
	ReasonIP6ExtOption = gate("ip6.extension.option", "ip6.option.length", "8200 §4.2",
		"an option goes beyond its extension header",
		"CVE-2020-13984", "CVE-2020-17442", "CVE-2020-17445", "CVE-2020-17468", "CVE-2021-25663", "CVE-2021-25664")
	ReasonIP6OptionSize = gate("ip6.option.length-wrong", "ip6.option.length", "8200 §4.2",
		"a known option has a length or a place that its type does not allow", "CVE-2020-13984", "CVE-2021-25664")
	ReasonIP6OptionTwice = gate("ip6.option.duplicate", "ip6.option.type", "2711 §2.1",
		"a known option stands twice in its header, and receivers differ in which of the two counts")
	ReasonIP6Segments = gate("ip6.extension.segments", "ip6.routing.last-entry", "8754 §2",
		"a segment routing header that is to be carried over has more than 8 segments or more than it has room for, or its last one is not the packet's destination")
	ReasonIP6RoutingType0 = gate("ip6.extension.rh0", "ip6.routing.type", "5095 §3",
		"a routing header of type 0, which is deprecated", "CVE-2020-11897")
	ReasonIP6Routing = register(ReasonInfo{Name: "ip6.extension.routing", Field: "ip6.routing.segments-left", RFC: "8200 §4.4",
		Doc: "a routing header with segments left: the packet is on its way to another destination", CVE: []string{"CVE-2020-13985", "CVE-2020-13986"},
		Trips: "segment routing and mobile IPv6", Relax: "reasons: {ip6.extension.routing: monitor}"})

	ReasonICMPTruncated = gate("icmp.truncated", "icmp.length", "792", "the ICMP message is shorter than 8 bytes",
		"CVE-2020-35683", "CVE-2021-31346")
	ReasonICMPChecksum = gate("icmp.checksum", "icmp.checksum", "792", "the ICMP checksum is wrong")
	ReasonICMPQuote    = gate("icmp.quote", "icmp.quoted", "1122 §3.2.2",
		"the ICMP error does not quote an IP header and 8 bytes of its payload", "CVE-2020-11898", "CVE-2020-11902", "CVE-2020-11910")
	ReasonICMP6Truncated = gate("icmp6.truncated", "icmp6.length", "4443 §2.1", "the ICMPv6 message is shorter than 8 bytes", "CVE-2020-17443", "CVE-2020-25112")
	ReasonICMP6Checksum  = gate("icmp6.checksum", "icmp6.checksum", "4443 §2.3", "the ICMPv6 checksum is wrong")
	ReasonICMP6Quote     = gate("icmp6.quote", "icmp6.quoted", "4443 §2.4",
		"the ICMPv6 error does not quote an IPv6 header and 8 bytes of its payload")

	ReasonNDTruncated  = gate("nd.truncated", "nd.length", "4861 §4", "the message is shorter than its type demands")
	ReasonNDOptionZero = gate("nd.option.length-zero", "nd.option.length", "4861 §4.6", "an option has length 0")
	ReasonNDOptionEnd  = gate("nd.option.beyond-end", "nd.option.length", "4861 §4.6", "an option goes beyond the message")
	ReasonNDOptionSize = gate("nd.option.length-wrong", "nd.option.length", "4861 §4.6",
		"a known option has a length that its type does not allow on Ethernet")
	ReasonNDOptionTwice = gate("nd.option.duplicate", "nd.option.type", "4861 §4.6",
		"an option stands twice, and receivers differ in which of the two counts")
	ReasonNDOptionMany = register(ReasonInfo{Name: "nd.option.too-many", Field: "nd.option.type", RFC: "4861 §4.6",
		Doc:   "a router advertises more than 4 prefixes or more than 3 name servers",
		Trips: "routers with many prefixes", Relax: "reasons: {nd.option.too-many: monitor}"})
	ReasonNDPrefix = gate("nd.option.prefix", "nd.option.prefix", "4862 §5.5.3",
		"a prefix is longer than an address, or preferred for longer than it is valid")
	ReasonNDServers = gate("nd.option.rdnss-length", "nd.option.length", "8106 §5.1",
		"an option with name servers has an even length or none of them", "CVE-2020-16898")

	ReasonTCPTruncated = gate("tcp.truncated", "tcp.length", "9293 §3.1",
		"the segment is shorter than a TCP header", "CVE-2020-11907", "CVE-2020-13987", "CVE-2020-35684", "CVE-2021-31890")
	ReasonTCPDataOffset  = gate("tcp.data-offset", "tcp.data-offset", "9293 §3.1", "the data offset is below 5 or goes beyond the segment", "CVE-2020-24341")
	ReasonTCPChecksum    = gate("tcp.checksum", "tcp.checksum", "9293 §3.1", "the TCP checksum is wrong")
	ReasonTCPOptionZero  = gate("tcp.option.length-zero", "tcp.option.length", "9293 §3.1", "an option has length 0", "CVE-2020-24337", "CVE-2020-13988")
	ReasonTCPOptionShort = gate("tcp.option.length-short", "tcp.option.length", "9293 §3.1",
		"an option has length 1, which does not cover its own length byte", "CVE-2019-12260", "CVE-2020-13988")
	ReasonTCPOptionEnd = gate("tcp.option.beyond-end", "tcp.option.length", "9293 §3.1",
		"an option goes beyond the header", "CVE-2020-13988", "CVE-2020-11912", "CVE-2021-31889")
	ReasonTCPOptionSize = gate("tcp.option.length-wrong", "tcp.option.length", "9293 §3.1",
		"a known option has a length that its kind does not allow", "CVE-2019-12258", "CVE-2019-12260", "CVE-2020-11912", "CVE-2021-31889")
	ReasonTCPOptionTwice = gate("tcp.option.duplicate", "tcp.option.kind", "9293 §3.1",
		"an option stands twice, and receivers differ in which of the two counts")

	ReasonUDPTruncated = gate("udp.truncated", "udp.length", "768", "the datagram is shorter than a UDP header", "CVE-2020-13987", "CVE-2021-31345")
	ReasonUDPLength    = register(ReasonInfo{Name: "udp.length", Field: "udp.length", RFC: "768",
		Doc:   "the UDP length differs from what the IP header leaves",
		CVE:   []string{"CVE-2020-11896", "CVE-2020-13987", "CVE-2021-31345"},
		Trips: "UDP options (RFC 9868)", Relax: "reasons: {udp.length: monitor}"})
	ReasonUDPChecksum = register(ReasonInfo{Name: "udp.checksum", Field: "udp.checksum", RFC: "768",
		Doc:   "the UDP checksum is wrong, or 0 on IPv6",
		Trips: "tunnels that send no checksum on IPv6 (RFC 6935)", Relax: "reasons: {udp.checksum: monitor}"})
)

// Super-packets beyond 64 KiB have a length field of 0 inside the kernel.
const (
	tripsBigTCP = "super-packets of a host with BIG TCP (gso_max_size or gro_max_size above 65,536)"
	relaxBigTCP = "gso_max_size, gro_max_size and their IPv4 twins of the interface at 65536 (ip link set)"
)

// gate registers a contradiction that no legitimate traffic shows.
func gate(name, field, rfc, doc string, cve ...string) Reason {
	return register(ReasonInfo{Name: name, Field: field, RFC: rfc, Doc: doc, CVE: cve, Trips: "none known"})
}

func register(info ReasonInfo) Reason { return NewReason("packet", info) }
