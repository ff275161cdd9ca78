package ip

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in IP headers.
var (
	ReasonOptions = newReason(ppf.ReasonInfo{Name: "ip.options-removed", Class: packet.Repaired, Field: "ip.options", RFC: "791 §3.1",
		Doc:   "IPv4 options are not carried over",
		CVE:   []string{"CVE-2019-12256", "CVE-2021-31344"},
		Trips: "tools that record routes or timestamps", Relax: "reasons: {ip.options-removed: monitor}"})
	ReasonReserved = newReason(ppf.ReasonInfo{Name: "ip.reserved-cleared", Class: packet.Repaired, Field: "ip.flags", RFC: "791 §3.1",
		Doc: "the reserved flag of the IPv4 header is cleared", Trips: "none known"})

	// ReasonOption6 and ReasonOptionUnknown are about options of IPv6 extension headers
	// that are not listed.
	ReasonOption6 = newReason(ppf.ReasonInfo{Name: "ip6.option-removed", Class: packet.Repaired, Field: "ip6.option.type", RFC: "8200 §4.2",
		Doc:   "options that are not listed are left out of an extension header that is",
		CVE:   []string{"CVE-2020-13984", "CVE-2020-17445"},
		Trips: "hosts that send options such as path MTU or performance measurements", Relax: "modules: {ip: {extension_options: [router-alert, 0x30]}}"})
	ReasonOptionUnknown = newReason(ppf.ReasonInfo{Name: "ip6.option.unknown", Field: "ip6.option.type", RFC: "8200 §4.2",
		Doc:   "an option that is not listed, of a type that says: discard the packet where this is not known",
		CVE:   []string{"CVE-2024-38063"},
		Trips: "mobile IPv6 and RPL", Relax: "reasons: {ip6.option.unknown: monitor}, or modules: {ip: {extensions: [hop-by-hop], extension_options: [0x63]}}"})

	ReasonProtocol = newReason(ppf.ReasonInfo{Name: "ip.protocol", Field: "ip.protocol", RFC: "7126 §3.1",
		Doc:   "the packet carries a protocol that is not listed, such as a tunnel",
		CVE:   []string{"CVE-2020-10136", "CVE-2020-11896", "CVE-2020-11898", "CVE-2020-11900", "CVE-2020-11902", "CVE-2019-12259", "CVE-2019-12265"},
		Trips: "tunnels, IPsec, routing protocols and SCTP to or from the server", Relax: "modules: {ip: {protocols: [tcp, udp, icmp, 50]}}"})
	ReasonClient = newReason(ppf.ReasonInfo{Name: "ip.client", Field: "ip.source", RFC: "791 §3.1",
		Doc:   "the client's address is not in clients, or is in refuse_clients",
		Trips: "clients that the lists do not know yet", Relax: "modules: {ip: {clients: [NETWORK, \"@NAME\"]}}"})
	ReasonNoData = newReason(ppf.ReasonInfo{Name: "ip.no-data", Field: "ip.source", RFC: "791 §3.1",
		Doc:   "a data module that says who may be a client is not loaded any more",
		Trips: "every client, after `promethos module unload` of that data module", Relax: "promethos module load"})
	ReasonTTL = newReason(ppf.ReasonInfo{Name: "ip.ttl", Field: "ip.ttl", RFC: "1122 §3.2.1.7",
		Doc:   "the TTL or hop limit is 0 or below what ttl_min wants: the packet may end before the receiver, who would then know less than we",
		Trips: "traceroute, where ttl_min is above 1", Relax: "modules: {ip: {ttl_min: 1}}"})
	ReasonMartianSource = newReason(ppf.ReasonInfo{Name: "ip.martian-source", Field: "ip.source", RFC: "6890 §2.2",
		Doc:   "the source address is one that no packet on a network can have: loopback, multicast, reserved, of this network, or listed",
		Trips: "machines that have no address yet, but for DHCP and address detection, which pass", Relax: "reasons: {ip.martian-source: monitor}"})
	ReasonMartianDestination = newReason(ppf.ReasonInfo{Name: "ip.martian-destination", Field: "ip.destination", RFC: "6890 §2.2",
		Doc:   "the destination address is one that no packet on a network can have: loopback, reserved, unspecified, or multicast within one interface",
		Trips: "none known", Relax: "reasons: {ip.martian-destination: monitor}"})
	ReasonLinkLocal = newReason(ppf.ReasonInfo{Name: "ip.link-local", Field: "ip.source", RFC: "3927 §7",
		Doc:   "an address that is good on one link only, in a packet that is routed from one to another",
		Trips: "machines without DHCP behind a router that forwards such addresses", Relax: "reasons: {ip.link-local: monitor}"})
	ReasonLand = newReason(ppf.ReasonInfo{Name: "ip.land", Field: "ip.source", RFC: "6274 §3.11",
		Doc: "source and destination are the same address, so that the receiver would answer itself", CVE: []string{"CVE-1999-0016"},
		Trips: "none known", Relax: "reasons: {ip.land: monitor}"})
	ReasonMulticast = newReason(ppf.ReasonInfo{Name: "ip.multicast", Field: "ip.destination", RFC: "1122 §4.2.3.10",
		Doc: "TCP to a multicast or broadcast address, or anything to one where multicast: refuse stands", CVE: []string{"CVE-2020-11899"},
		Trips: "discovery such as mDNS and SSDP, where multicast: refuse stands", Relax: "modules: {ip: {multicast: pass}}"})
)

func newReason(info ppf.ReasonInfo) ppf.Reason { return packet.NewReason("ip", info) }
