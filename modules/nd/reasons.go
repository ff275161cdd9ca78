package nd

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in messages of neighbour discovery.
var (
	ReasonHopLimit = newReason(ppf.ReasonInfo{Name: "nd.hop-limit", Field: "ip6.hop-limit", RFC: "4861 §3.1",
		Doc: "the hop limit is not 255: the message does not come from this link", Trips: "none known"})
	ReasonCode = newReason(ppf.ReasonInfo{Name: "nd.code", Field: "icmp6.code", RFC: "4861 §7.1",
		Doc: "the code is not 0", Trips: "none known"})
	ReasonExtension = newReason(ppf.ReasonInfo{Name: "nd.extension", Field: "ip6.next-header", RFC: "6980 §5",
		Doc:   "the message is a fragment or stands behind extension headers, where others look past it",
		Trips: "none known"})
	ReasonSource = newReason(ppf.ReasonInfo{Name: "nd.source", Field: "ip6.source", RFC: "4861 §7.1",
		Doc: "the source address is none that such a message can have", Trips: "none known"})
	ReasonDestination = newReason(ppf.ReasonInfo{Name: "nd.destination", Field: "ip6.destination", RFC: "4861 §4",
		Doc: "the destination is none that such a message can have, or the frame is for another group than the packet", Trips: "none known"})
	ReasonTarget = newReason(ppf.ReasonInfo{Name: "nd.target", Field: "nd.target", RFC: "4861 §7.1",
		Doc: "the target is no host's address", Trips: "none known"})
	ReasonLinkAddress = newReason(ppf.ReasonInfo{Name: "nd.link-address", Field: "nd.option.link-address", RFC: "4861 §4.6.1",
		Doc:   "the link-layer address is not the one that the frame comes from, is no host's, or is missing or given against the rules",
		Trips: "proxies of neighbour discovery on wireless bridges", Relax: "reasons: {nd.link-address: monitor}"})
	ReasonSolicited = newReason(ppf.ReasonInfo{Name: "nd.solicited", Field: "nd.flags", RFC: "4861 §7.1.2",
		Doc: "an advertisement to a group says that it is an answer", Trips: "none known"})
	ReasonMTU = newReason(ppf.ReasonInfo{Name: "nd.mtu", Field: "nd.option.mtu", RFC: "8200 §5",
		Doc: "a router advertises an MTU below 1280 bytes", Trips: "none known"})
	ReasonRouter = newReason(ppf.ReasonInfo{Name: "nd.router", Field: "icmp6.type", RFC: "6105",
		Doc:   "a router advertisement from a side where no routers stand",
		Trips: "routers that the setting leaves out", Relax: "modules: {nd: {routers: server}}, or client or both"})
	ReasonRedirect = newReason(ppf.ReasonInfo{Name: "nd.redirect", Field: "icmp6.type", RFC: "4861 §8",
		Doc: "a redirect would send a host's packets elsewhere", Trips: "subnets with several routers, whose packets still arrive by the first one", Relax: "reasons: {nd.redirect: monitor}"})
	ReasonBinding = newReason(ppf.ReasonInfo{Name: "nd.binding", Field: "nd.target", RFC: "4862 §5.4",
		Doc:   "another host has the address",
		Trips: "a host that was exchanged, addresses that move between redundant hosts", Relax: "modules: {nd: {age: 1m}}, or bindings with the virtual address"})
	ReasonUnknown = newReason(ppf.ReasonInfo{Name: "nd.unknown-host", Field: "nd.target", RFC: "4861 §7.2",
		Doc:   "the sender's address has no fixed binding, and nothing is learned",
		Trips: "hosts that bindings leave out", Relax: "modules: {nd: {learn: true}}, or a binding for it"})
	ReasonHosts = newReason(ppf.ReasonInfo{Name: "nd.limit-hosts", Field: "nd.target", RFC: "6583 §6",
		Doc: "as many hosts are known as the limit allows", Trips: "very large subnets, hosts with many temporary addresses", Relax: "modules: {nd: {hosts: N}}"})
	ReasonOption = newReason(ppf.ReasonInfo{Name: "nd.option-removed", Class: packet.Repaired, Field: "nd.option.type", RFC: "4861 §4.6",
		Doc:   "options that are unknown, or that the message may not have, are not carried over",
		Trips: "routers that advertise search lists, routes or captive portals", Relax: "reasons: {nd.option-removed: monitor}"})
)

func newReason(info ppf.ReasonInfo) ppf.Reason { return packet.NewReason("nd", info) }
