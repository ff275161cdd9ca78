package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// ErrTooLarge reports a ruleset whose transaction the socket cannot carry, as
// where an ordinary user may not enlarge its buffers.
var ErrTooLarge = errors.New("too many rules for one transaction (run as root, raise net.core.rmem_max and net.core.wmem_max, or use fewer `not` and overlapping matches)")

// What the kernel charges our receive buffer: for the acknowledgement of a message
// and for a rule's share of the echo (measured on Linux 6.18: 425,984 bytes hold
// the answers for 220 rules, not those for 270).
const (
	ackBytes  = 768
	echoBytes = 1 << 10
)

// elementsPerMessage keeps the list of elements below the 64 KiB of a netlink
// attribute: at most 120 bytes each.
const elementsPerMessage = 400

// Apply replaces our table; see Applier. The error wraps ErrTooLarge or
// ErrNoPermission; then the rules are as before.
//
// All rules change in one transaction. Two things in the kernel would still let
// packets through:
//   - The elements of new sets of intervals become visible after the rules that
//     look into them (net/netfilter/nf_tables_api.c, nf_tables_commit; on Linux
//     6.18 a storm of packets gets through in most runs). So the sets go in first,
//     in a transaction that touches no rule, under names that are not in use.
//   - A chain that replaces one of the same place hooks in before it (net/netfilter/
//     core.c, nf_hook_entries_grow), and each has rules only on its side of the
//     change: a packet between the two would find both empty. So base chains that
//     stand where they shall are not made anew but emptied and filled.
//
// What a plan moves to another hook is the exception: a packet between the two
// hooks during the change is seen by neither.
func (k *Kernel) Apply(rs *Ruleset) error {
	if k.broken != nil {
		return k.broken
	}
	if need := rs.answers(); need > k.room {
		return fmt.Errorf("rules: apply: %w: the kernel's answers take %d bytes, the socket has %d", ErrTooLarge, need, k.room)
	}
	old, err := k.standing()
	if err != nil {
		return err
	}
	sets, err := k.addSets(rs, old)
	if err == nil {
		err = k.replaceRules(rs, old, sets)
	}
	if err != nil {
		return fmt.Errorf("rules: apply: %w", explain(err))
	}
	return nil
}

// addSets adds the sets of a ruleset under names that are not in use.
func (k *Kernel) addSets(rs *Ruleset, old *standing) (map[*set]*nftables.Set, error) {
	if len(rs.sets) == 0 {
		return nil, nil
	}
	suffix := old.freeSuffix()
	sets := map[*set]*nftables.Set{}
	k.conn.AddTable(ourTable)
	for _, s := range rs.sets {
		ns, err := k.addSet(ourTable, s, s.name+suffix)
		if err != nil {
			k.broken = err // what is staged cannot be taken back: never send it
			return nil, err
		}
		sets[s] = ns
	}
	return sets, k.conn.Flush()
}

// replaceRules puts the rules and chains into the place of the old ones, and
// takes the old sets away, or the new ones if it fails.
func (k *Kernel) replaceRules(rs *Ruleset, old *standing, sets map[*set]*nftables.Set) error {
	k.conn.AddTable(ourTable)
	k.conn.FlushTable(ourTable)
	kept := map[string]bool{}
	for _, c := range old.chains {
		if rs.keeps(c) {
			kept[c.Name] = true
		} else {
			k.conn.DelChain(c)
		}
	}
	for _, s := range old.sets {
		k.conn.DelSet(s)
	}
	if err := k.stage(rs, kept, sets); err != nil {
		k.broken = err
		return err
	}
	err := k.conn.Flush()
	if err == nil || len(sets) == 0 {
		return err
	}
	for _, s := range sets {
		k.conn.DelSet(s)
	}
	return errors.Join(err, k.conn.Flush())
}

// answers bounds what the kernel's answers to the larger of the two transactions
// take in our receive buffer, in bytes. As many sets and chains may have to go as
// come.
func (r *Ruleset) answers() int {
	sets, rules := 1, 0
	for _, s := range r.sets {
		sets += 1 + len(s.boxes)/elementsPerMessage + 1
	}
	others := 2 + len(r.sets) + 2*len(r.chains)
	for _, c := range r.chains {
		rules += len(c.rules)
		for i := range c.rules {
			if c.rules[i].set == extensionSet {
				others += 2
			}
		}
	}
	return max(sets*ackBytes, (others+rules)*ackBytes+rules*echoBytes)
}

// keeps reports whether a chain that stands in our table is one of the ruleset's
// base chains.
func (r *Ruleset) keeps(c *nftables.Chain) bool {
	return slices.ContainsFunc(r.chains, func(own *chain) bool {
		return own.name == c.Name && own.base != nil && c.Hooknum != nil && c.Priority != nil &&
			*c.Hooknum == own.base.nftHook() && *c.Priority == nftables.ChainPriority(own.base.priority) &&
			c.Type == nftables.ChainTypeFilter && c.Policy != nil && *c.Policy == nftables.ChainPolicyAccept
	})
}

func (i *placeInfo) nftHook() nftables.ChainHook { return nftables.ChainHook(i.hook - 1) }

// standing is what there is under our table name.
type standing struct {
	chains []*nftables.Chain
	sets   []*nftables.Set // without anonymous ones, which go with their rules
}

func (k *Kernel) standing() (*standing, error) {
	chains, err := k.ownChains()
	if err != nil {
		return nil, err
	}
	if chains == nil {
		return &standing{}, nil
	}
	sets, err := k.conn.GetSets(ourTable)
	if err != nil {
		return nil, fmt.Errorf("rules: list sets: %w", explain(err))
	}
	return &standing{chains, slices.DeleteFunc(sets, func(s *nftables.Set) bool { return s.Anonymous })}, nil
}

// freeSuffix is the ending that tells the sets of one Apply from those before.
func (s *standing) freeSuffix() string {
	for n := 1; ; n++ {
		suffix := fmt.Sprintf(".%d", n)
		if !slices.ContainsFunc(s.sets, func(s *nftables.Set) bool { return strings.HasSuffix(s.Name, suffix) }) {
			return suffix
		}
	}
}

// stage writes the chains and rules into the transaction; kept names base chains
// that are there already.
func (k *Kernel) stage(rs *Ruleset, kept map[string]bool, sets map[*set]*nftables.Set) error {
	for _, c := range rs.chains {
		if kept[c.name] {
			continue
		}
		nc := &nftables.Chain{Name: c.name, Table: ourTable}
		if c.base != nil {
			accept := nftables.ChainPolicyAccept
			nc.Type, nc.Policy = nftables.ChainTypeFilter, &accept
			nc.Hooknum = nftables.ChainHookRef(c.base.nftHook())
			nc.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.base.priority))
		}
		k.conn.AddChain(nc)
	}
	for _, c := range rs.chains {
		for i := range c.rules {
			if err := k.addRule(c, &c.rules[i], sets); err != nil {
				return err
			}
		}
	}
	return nil
}

// addSet writes a set and its elements.
func (k *Kernel) addSet(t *nftables.Table, s *set, name string) (*nftables.Set, error) {
	if s.remembers {
		ns := s.memory(t, name)
		return ns, k.conn.AddSet(ns, nil)
	}
	ns := &nftables.Set{
		Table: t, Name: name, Interval: true, Concatenation: true, KeyType: nftables.MustConcatSetType(s.shape.types()...),
	}
	if err := k.conn.AddSet(ns, nil); err != nil {
		return nil, fmt.Errorf("set %s: %w", name, err)
	}
	for part := range slices.Chunk(s.boxes, elementsPerMessage) {
		elements := make([]nftables.SetElement, len(part))
		for i := range part {
			elements[i] = s.shape.element(&part[i])
		}
		if err := k.conn.SetAddElements(ns, elements); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	return ns, nil
}

// addRule writes a rule, with the set that its lookup looks into.
func (k *Kernel) addRule(c *chain, r *rule, sets map[*set]*nftables.Set) error {
	exprs := r.exprs
	if r.set != nil {
		ns := sets[r.set]
		if r.set == extensionSet {
			// An anonymous set belongs to one rule. Its elements are no intervals
			// and become visible with it.
			ns = &nftables.Set{Table: ourTable, Anonymous: true, Constant: true, KeyType: nftables.TypeInetProto}
			elements := make([]nftables.SetElement, len(extensionHeaders))
			for i, p := range extensionHeaders {
				elements[i].Key = []byte{byte(p)}
			}
			if err := k.conn.AddSet(ns, elements); err != nil {
				return fmt.Errorf("chain %s: %w", c.name, err)
			}
		}
		exprs = r.lookInto(ns)
	}
	k.conn.AddRule(&nftables.Rule{Table: ourTable, Chain: &nftables.Chain{Name: c.name}, Exprs: exprs})
	return nil
}

// lookInto gives the expressions of a rule with the kernel's name of its set.
func (r *rule) lookInto(ns *nftables.Set) []expr.Any {
	exprs := slices.Clone(r.exprs)
	switch e := exprs[r.lookup].(type) {
	case *expr.Lookup:
		lookup := *e
		lookup.SetName, lookup.SetID = ns.Name, ns.ID
		exprs[r.lookup] = &lookup
	case *expr.Dynset:
		note := *e
		note.SetName, note.SetID = ns.Name, ns.ID
		exprs[r.lookup] = &note
	}
	return exprs
}
