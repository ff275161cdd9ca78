package rules

import (
	"github.com/promethos/promethos/ppf"
)

// Mark is the packet mark of what we emit or send once more through a hook; the
// first rule of every chain lets it go on.
const Mark = 0x5046_0000

// Selector asks the kernel to hand over the packets of one flow at one hook.
type Selector struct {
	Instance string // for messages
	Dir      ppf.Dir
	Hook     ppf.Hook
	// Early takes packets at PREROUTING before conntrack and defragmentation,
	// for an instance that exchanges addresses.
	Early    bool
	Criteria ppf.Criteria
	Fail     ppf.Fail
}

// Queues is a range of queue numbers, balanced by the hash of both addresses.
type Queues struct{ First, Count uint16 }

// Plan is what the kernel shall select.
type Plan struct {
	Selectors []Selector
	// Refuse holds, for servers with `others: refuse`, the criteria of all
	// their traffic at the hooks of their instances.
	Refuse []Selector
	// Closed and Open are the queues for instances that fail closed and open.
	Closed, Open Queues
}

// place is a base chain of our table.
type place uint8

const (
	placeFragments place = iota
	placeEarly
	placePrerouting
	placeInput
	placeForward
	placeOutput
	placePostrouting
	numPlaces
)

// chainInfo says where a base chain stands. docs/hooks.md shows this table to
// operators; a test compares the two.
type chainInfo struct {
	name     string
	hook     ppf.Hook
	priority int32
	why      string
}

var chains = [numPlaces]chainInfo{
	placeFragments:   {"fragments", ppf.Prerouting, -450, "before the kernel's defragmentation (-400): a fragment is judged as it came"},
	placeEarly:       {"early", ppf.Prerouting, -310, "before conntrack (-200) and routing: answers to an exchanged address are restored first"},
	placePrerouting:  {"prerouting", ppf.Prerouting, -90, "behind DNAT (-100): both flows show the real client and server, also with masquerade"},
	placeInput:       {"input", ppf.Input, -10, "before the operator's filter (0), which judges the packet that was built"},
	placeForward:     {"forward", ppf.Forward, -10, "before the operator's filter (0), which judges the packet that was built"},
	placeOutput:      {"output", ppf.Output, -10, "behind DNAT (-100), before the operator's filter (0)"},
	placePostrouting: {"postrouting", ppf.Postrouting, 90, "before SNAT (100): the client's real address is still there"},
}

func (s *Selector) place() place {
	switch s.Hook {
	case ppf.Prerouting:
		if s.Early {
			return placeEarly
		}
		return placePrerouting
	case ppf.Input:
		return placeInput
	case ppf.Output:
		return placeOutput
	case ppf.Postrouting:
		return placePostrouting
	}
	return placeForward
}
