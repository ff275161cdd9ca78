package icmp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in messages and their order.
var (
	ReasonEchoCode = refused("icmp.echo-code", "icmp.code", "792", "an echo request or reply with a code other than 0",
		"none known", "")
	ReasonUnsolicited = refused("icmp.unsolicited", "icmp.identifier", "5508 §3.1",
		"an echo reply that answers no request, or comes once more", "replies to a broadcast, replies that come late", "modules: {icmp: {timeout: 10m}}")
	ReasonInitiate = refused("icmp.initiate", "icmp.type", "5508 §3.1",
		"this side sends an echo request, and the instance lets only the other do so", "servers that probe their clients", "initiate: both")
	ReasonTimestamp     = refused("icmp.timestamp", "icmp.type", "6633", "a timestamp request or reply tells what time a host has", "clock probes of old systems", "reasons: {icmp.timestamp: monitor}")
	ReasonInformation   = refused("icmp.information", "icmp.type", "6918 §2", "an information request or reply, which is deprecated", "none known", "")
	ReasonAddressMask   = refused("icmp.address-mask", "icmp.type", "6918 §2", "an address mask request or reply, which is deprecated", "none known", "", "CVE-2020-11911")
	ReasonRouter        = refused("icmp.router-discovery", "icmp.type", "1256", "router discovery does not cross a router", "hosts that look for a router on the proxy's own segment, at prerouting and input", "match: {not: …} for them")
	ReasonNeighbor      = refused("icmp.neighbor-discovery", "icmp.type", "4861 §6.1", "neighbor and router discovery do not cross a router", "IPv6 on the proxy's own segments, where an instance at prerouting, input, output or postrouting takes it", "hook: forward")
	ReasonListener      = refused("icmp.multicast-listener", "icmp.type", "3810 §5", "multicast listener discovery does not cross a router", "as for neighbor discovery", "hook: forward")
	ReasonInformational = refused("icmp.informational", "icmp.type", "4443 §2.4", "a message, not an error, of a type that nothing needs", "node information, extended echo", "reasons: {icmp.informational: monitor}")
)

func refused(name, field, rfc, doc, trips, relax string, cve ...string) ppf.Reason {
	return packet.NewReason("icmp", ppf.ReasonInfo{Name: name, Field: field, RFC: rfc, Doc: doc, Trips: trips, Relax: relax, CVE: cve})
}

// others4 and others6 are the messages that are neither echoes nor errors; what
// stands in neither is ReasonInformational.
var (
	others4 = [256]ppf.Reason{
		9: ReasonRouter, 10: ReasonRouter, 13: ReasonTimestamp, 14: ReasonTimestamp, 15: ReasonInformation, 16: ReasonInformation,
		17: ReasonAddressMask, 18: ReasonAddressMask,
	}
	others6 = [256]ppf.Reason{
		130: ReasonListener, 131: ReasonListener, 132: ReasonListener, 143: ReasonListener,
		133: ReasonNeighbor, 134: ReasonNeighbor, 135: ReasonNeighbor, 136: ReasonNeighbor, 137: ReasonNeighbor,
	}
)

func otherwise(of *[256]ppf.Reason, t uint8) ppf.Reason {
	if r := of[t]; r != packet.ReasonNone {
		return r
	}
	return ReasonInformational
}
