package rules

import (
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// floodSet remembers that SYNs flood: it has an element, TCP, until floodMemory
// after there were too many of them.
var floodSet = &set{name: "flood", remembers: true}

const (
	floodMemory = time.Second
	// floodSetSize is room for an element that has run out and is not cleared away
	// yet.
	floodSetSize = 16
)

// over restricts the rule to packets that come when it has seen rate of them in a
// second, beside a burst of as many as come in a twentieth.
func (b *builder) over(rate uint32) *builder {
	burst := max(rate/20, 1)
	return b.say("limit rate over %d/second burst %d packets", rate, burst).
		add(&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(rate), Unit: expr.LimitTimeSecond, Burst: burst, Over: true})
}

// noteFlood has the rule's packets remembered in floodSet, anew with each.
func (b *builder) noteFlood() *builder {
	b.say("update @%s { meta l4proto }", floodSet.name).add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg})
	b.r.set, b.r.lookup = floodSet, len(b.r.exprs)
	return b.add(&expr.Dynset{SrcRegKey: reg, Operation: unix.NFT_DYNSET_OP_UPDATE})
}

// inFlood restricts the rule to packets that come while there is a flood.
func (b *builder) inFlood() *builder {
	return b.say("meta l4proto @%s", floodSet.name).add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}).find(floodSet, reg)
}

// memory is a set as the kernel has it whose elements rules put in.
func (s *set) memory(t *nftables.Table, name string) *nftables.Set {
	return &nftables.Set{
		Table: t, Name: name, KeyType: nftables.TypeInetProto, Dynamic: true, HasTimeout: true, Timeout: floodMemory, Size: floodSetSize,
	}
}
