package ethernet

import (
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// What is found in frames.
var (
	ReasonType = newReason(ppf.ReasonInfo{Name: "ethernet.type", Field: "ethernet.type", RFC: "9542",
		Doc:   "the ethertype is neither IP nor ARP, and ethertypes does not list it",
		Trips: "industrial protocols, LLDP, PTP, 802.1X and others that are to pass", Relax: "modules: {ethernet: {ethertypes: [NAME]}}"})
	ReasonSource = newReason(ppf.ReasonInfo{Name: "ethernet.source", Field: "ethernet.src", RFC: "9542 §2.1",
		Doc:   "the source address is a group's, or zero: no host sends from it",
		Trips: "none known"})
	ReasonVLAN = newReason(ppf.ReasonInfo{Name: "ethernet.vlan", Field: "vlan.vid",
		Doc:   "vlans does not list the VLAN, or its identifier is the reserved one",
		Trips: "VLANs that the list leaves out", Relax: "modules: {ethernet: {vlans: [any]}}, or the identifier in it"})
	ReasonUntagged = newReason(ppf.ReasonInfo{Name: "ethernet.untagged", Field: "vlan.vid",
		Doc:   "the frame has no VLAN, and vlans does not list untagged",
		Trips: "the native VLAN of a trunk", Relax: "modules: {ethernet: {vlans: [untagged, ID]}}"})
	ReasonDoubleTags = newReason(ppf.ReasonInfo{Name: "ethernet.double-tags", Field: "vlan.tpid",
		Doc:   "the frame has two VLAN tags: where a switch takes away the outer one, it gets into the VLAN of the inner one",
		Trips: "networks of providers (802.1ad)", Relax: "modules: {ethernet: {double_tags: pass}}"})
	ReasonPriorityTag = newReason(ppf.ReasonInfo{Name: "ethernet.priority-tag", Field: "vlan.vid",
		Doc:   "the tag has a priority but no VLAN, and priority_tags refuses it",
		Trips: "PROFINET, telephones", Relax: "modules: {ethernet: {priority_tags: pass}}"})
	ReasonLength = newReason(ppf.ReasonInfo{Name: "ethernet.length", Field: "ethernet.length", RFC: "1042",
		Doc:   "the IEEE 802.3 length does not fit the frame, or the header that has to be in it, or is between length and ethertype",
		Trips: "none known"})
	ReasonLLC = newReason(ppf.ReasonInfo{Name: "ethernet.llc", Field: "llc.dsap", RFC: "1042",
		Doc:   "an IEEE 802.3 frame with LLC header that is not to pass, or for bridges without being spanning tree",
		Trips: "IS-IS, NetBEUI, discovery protocols of switches", Relax: "modules: {ethernet: {llc: pass}}"})
	ReasonEncapsulated = newReason(ppf.ReasonInfo{Name: "ethernet.encapsulated", Field: "llc.snap", RFC: "1042",
		Doc:   "an ethertype or IP behind an LLC header, where no function would look at it",
		Trips: "IP hosts of the 1980s, bridges to Token Ring and FDDI", Relax: "none: use Ethernet II framing"})
	ReasonSTP = newReason(ppf.ReasonInfo{Name: "ethernet.stp", Field: "llc.dsap",
		Doc:   "spanning tree, by which a host can become the root of all bridges",
		Trips: "a wire between two bridges: without it loops are not found", Relax: "modules: {ethernet: {stp: pass}}"})
)

func newReason(info ppf.ReasonInfo) ppf.Reason { return packet.NewReason("ethernet", info) }
