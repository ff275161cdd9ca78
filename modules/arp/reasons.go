package arp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in ARP packets.
var (
	ReasonReverse = newReason(ppf.ReasonInfo{Name: "arp.reverse", Field: "ethernet.type", RFC: "903",
		Doc:   "reverse ARP would give a host an address",
		CVE:   []string{"CVE-2019-12262"},
		Trips: "diskless hosts of the 1980s", Relax: "none: use DHCP"})
	ReasonOperation = newReason(ppf.ReasonInfo{Name: "arp.operation", Field: "arp.operation", RFC: "826",
		Doc: "the operation is neither request nor reply", Trips: "none known"})
	ReasonSenderMAC = newReason(ppf.ReasonInfo{Name: "arp.sender-mac", Field: "arp.sender-mac", RFC: "826",
		Doc:   "the sender's link-layer address is not the one that the frame comes from, or no host's",
		Trips: "proxy ARP of some wireless bridges and load balancers", Relax: "reasons: {arp.sender-mac: monitor}"})
	ReasonSenderIP = newReason(ppf.ReasonInfo{Name: "arp.sender-ip", Field: "arp.sender-ip", RFC: "5227 §1.1",
		Doc: "the sender's IP address is no host's, or is missing in a reply", Trips: "none known"})
	ReasonTarget = newReason(ppf.ReasonInfo{Name: "arp.target", Field: "arp.target", RFC: "826",
		Doc: "the frame is not for whom the packet is for: a reply to another host, a request to a group, or a target that is no host's address", Trips: "none known"})
	ReasonBinding = newReason(ppf.ReasonInfo{Name: "arp.binding", Field: "arp.sender-ip", RFC: "5227 §2.4",
		Doc:   "another host has the sender's IP address",
		Trips: "a host that was exchanged, addresses that move between redundant hosts", Relax: "modules: {arp: {age: 1m}}, or bindings with the virtual address"})
	ReasonUnknown = newReason(ppf.ReasonInfo{Name: "arp.unknown-host", Field: "arp.sender-ip", RFC: "826",
		Doc:   "the sender's address has no fixed binding, and nothing is learned",
		Trips: "hosts that bindings leave out", Relax: "modules: {arp: {learn: true}}, or a binding for it"})
	ReasonHosts = newReason(ppf.ReasonInfo{Name: "arp.limit-hosts", Field: "arp.sender-ip", RFC: "826",
		Doc: "as many hosts are known as the limit allows", Trips: "very large subnets", Relax: "modules: {arp: {hosts: N}}"})
)

func newReason(info ppf.ReasonInfo) ppf.Reason { return packet.NewReason("arp", info) }
