package udp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in datagrams and their order.
var (
	ReasonPort = packet.NewReason("udp", ppf.ReasonInfo{Name: "udp.port-zero", Field: "udp.port", RFC: "768",
		Doc: "a port is 0, to which nobody can answer", Trips: "senders that want no answer, which RFC 768 allows",
		Relax: "reasons: {udp.port-zero: monitor}"})
	ReasonInitiate = packet.NewReason("udp", ppf.ReasonInfo{Name: "udp.initiate", Field: "udp.port", RFC: "4787 §5",
		Doc:   "this side sends first, or after the other's flow has expired, and the instance lets only the other do so",
		Trips: "servers that answer late, or push", Relax: "initiate: both, or modules: {udp: {unreplied: 120s}}"})
)
