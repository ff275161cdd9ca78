package igmp

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// reasons are what either function finds, each under its own name.
type reasons struct {
	typ, version, checksum, origin, source, destination, group, records, trailing ppf.Reason
}

var (
	v4 = newReasons("igmp", "3376")
	v6 = newReasons("mld", "3810")
)

func newReasons(protocol, rfc string) reasons {
	refused := func(name, field, section, doc string) ppf.Reason {
		return packet.NewReason("igmp", ppf.ReasonInfo{Name: protocol + "." + name, Field: protocol + "." + field, RFC: rfc + section, Doc: doc, Trips: "none known"})
	}
	return reasons{
		typ:         refused("type", "type", " §4", "the message is of a type that no host and no querier sends"),
		version:     refused("version", "length", " §7.1", "the length is that of no version of the message"),
		checksum:    refused("checksum", "checksum", " §4", "the message's checksum is wrong"),
		origin:      refused("origin", "ttl", " §4", "it does not come from this link: TTL or hop limit is not 1, or it hides behind a fragment or another header"),
		source:      refused("source", "source", " §4.2.13", "the sender is no host of this link"),
		destination: refused("destination", "destination", " §4.1.12", "the packet or its frame does not go to the group that such a message goes to"),
		group:       refused("group", "group", " §4.1.4", "what the message speaks of is no group"),
		records:     refused("records", "records", " §4.2.12", "a record or a list of sources contradicts its length, its type or itself"),
		trailing: packet.NewReason("igmp", ppf.ReasonInfo{Name: protocol + ".trailing-removed", Class: packet.Repaired, Field: protocol + ".length", RFC: rfc + " §4.2.11",
			Doc: "bytes behind what the message counts are left out", Trips: "senders that pad", Relax: "mode: repair, where it passes without them"}),
	}
}
