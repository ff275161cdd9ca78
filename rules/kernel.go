package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// State is what stands under our table name.
type State uint8

// The states.
const (
	StateNone   State = iota // no table, or one without rules
	StateActive              // rules that queue
	StateBlock               // rules that drop
)

var stateNames = [...]string{"none", "active", "block"}

// String names the state.
func (s State) String() string { return stateNames[s] }

// Applier puts rulesets into place.
type Applier interface {
	// Apply replaces what stands under our table name in one transaction.
	Apply(*Ruleset) error
	// Remove takes our table away; it is no error when there is none.
	Remove() error
	// State tells what is there.
	State() (State, error)
}

// Kernel is the Applier of the network namespace that it was opened in. It is
// not safe for concurrent use.
type Kernel struct {
	conn *nftables.Conn
	// room is the size of the socket's receive buffer in the kernel's count.
	room int
	// broken is why a transaction could not be written.
	broken error
}

var _ Applier = (*Kernel)(nil)

// ErrTooLarge reports a ruleset whose transaction the socket cannot carry, as
// where an ordinary user may not enlarge its buffers.
var ErrTooLarge = errors.New("too many rules for one transaction (run as root, raise net.core.rmem_max and net.core.wmem_max, or use fewer `not` and overlapping matches)")

// socketBuffer holds a whole transaction.
const socketBuffer = 64 << 20

// OpenKernel opens nf_tables in the network namespace of the calling thread;
// later calls may come from any thread. The error wraps ErrNoPermission or
// ErrNoNFTables.
func OpenKernel() (*Kernel, error) {
	k := &Kernel{}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(k.tune))
	if err != nil {
		return nil, fmt.Errorf("rules: open nf_tables: %w", explain(err))
	}
	k.conn = conn
	return k, nil
}

// tune enlarges the socket's buffers as far as it may.
func (k *Kernel) tune(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		for _, o := range [][2]int{{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o[0], socketBuffer) != nil {
				// Without the privilege the kernel cuts it at its limit.
				failure = errors.Join(failure, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o[1], socketBuffer))
			}
		}
		room, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		k.room = room
		failure = errors.Join(failure, err)
	})
	return errors.Join(err, failure)
}

// Close closes the netlink socket; the rules stay.
func (k *Kernel) Close() error { return k.conn.CloseLasting() }

var ourTable = &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}

// answerBytes bounds what the kernel charges our receive buffer for one message
// of a transaction: its acknowledgement, and for a rule also its echo.
const answerBytes = 3 << 10

// Apply replaces our table; see Applier. Base chains that stand where they shall
// are not made anew but emptied and filled: their hook then stays, and a packet
// meets either the old rules or the new. With two hooks, the one before and the
// one after the change, a packet between them when the transaction takes effect
// would find both empty: chains without rules before they are made and after
// they are gone. The error wraps ErrTooLarge or ErrNoPermission.
func (k *Kernel) Apply(rs *Ruleset) error {
	if messages := rs.messages(); messages*answerBytes > k.room {
		return fmt.Errorf("rules: apply %d rules and sets: %w", messages, ErrTooLarge)
	}
	if k.broken != nil {
		return k.broken
	}
	standing, sets, err := k.standing()
	if err != nil {
		return err
	}
	k.conn.AddTable(ourTable)
	k.conn.FlushTable(ourTable)
	kept := map[string]bool{}
	for _, c := range standing {
		if rs.keeps(c) {
			kept[c.Name] = true
		} else {
			k.conn.DelChain(c)
		}
	}
	for _, s := range sets {
		k.conn.DelSet(s)
	}
	if err := k.stage(rs, kept); err != nil {
		// What is staged cannot be taken back; never send it.
		k.broken = fmt.Errorf("rules: apply: %w", err)
		return k.broken
	}
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("rules: apply: %w", explain(err))
	}
	return nil
}

// elementsPerMessage keeps the list of elements below the 64 KiB of a netlink
// attribute: at most 120 bytes each.
const elementsPerMessage = 400

// messages bounds the number of messages in the ruleset's transaction.
func (r *Ruleset) messages() int {
	n := 2 + len(r.chains)
	for _, s := range r.sets {
		n += 1 + len(s.boxes)/elementsPerMessage + 1
	}
	for _, c := range r.chains {
		n += 2 * len(c.rules) // a rule may bring an anonymous set
	}
	return n
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

// standing lists the chains and named sets under our table name.
func (k *Kernel) standing() ([]*nftables.Chain, []*nftables.Set, error) {
	chains, err := k.ownChains()
	if err != nil || chains == nil {
		return nil, nil, err
	}
	sets, err := k.conn.GetSets(ourTable)
	if err != nil {
		return nil, nil, fmt.Errorf("rules: list sets: %w", explain(err))
	}
	// Anonymous sets go with their rules.
	return chains, slices.DeleteFunc(sets, func(s *nftables.Set) bool { return s.Anonymous }), nil
}

// stage writes the ruleset into the transaction; kept names base chains that are
// there already.
func (k *Kernel) stage(rs *Ruleset, kept map[string]bool) error {
	sets := map[*set]*nftables.Set{}
	for _, s := range rs.sets {
		if err := k.addSet(ourTable, s, sets); err != nil {
			return err
		}
	}
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

// addSet writes a set and its elements, and remembers the kernel's form of it.
func (k *Kernel) addSet(t *nftables.Table, s *set, sets map[*set]*nftables.Set) error {
	ns := &nftables.Set{
		Table: t, Name: s.name, Interval: true, Concatenation: true, KeyType: nftables.MustConcatSetType(s.shape.types()...),
	}
	if err := k.conn.AddSet(ns, nil); err != nil {
		return fmt.Errorf("set %s: %w", s.name, err)
	}
	sets[s] = ns
	for part := range slices.Chunk(s.boxes, elementsPerMessage) {
		elements := make([]nftables.SetElement, len(part))
		for i := range part {
			elements[i] = s.shape.element(&part[i])
		}
		if err := k.conn.SetAddElements(ns, elements); err != nil {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
	}
	return nil
}

// addRule writes a rule, with the set that its lookup looks into.
func (k *Kernel) addRule(c *chain, r *rule, sets map[*set]*nftables.Set) error {
	exprs := r.exprs
	if r.set != nil {
		ns := sets[r.set]
		if r.set == extensionSet {
			// An anonymous set belongs to one rule.
			ns = &nftables.Set{Table: ourTable, Anonymous: true, Constant: true, KeyType: nftables.TypeInetProto}
			elements := make([]nftables.SetElement, len(extensionHeaders))
			for i, p := range extensionHeaders {
				elements[i].Key = []byte{byte(p)}
			}
			if err := k.conn.AddSet(ns, elements); err != nil {
				return fmt.Errorf("chain %s: %w", c.name, err)
			}
		}
		lookup := *exprs[r.lookup].(*expr.Lookup)
		lookup.SetName, lookup.SetID = ns.Name, ns.ID
		exprs = slices.Clone(exprs)
		exprs[r.lookup] = &lookup
	}
	k.conn.AddRule(&nftables.Rule{Table: ourTable, Chain: &nftables.Chain{Name: c.name}, Exprs: exprs})
	return nil
}

// Remove takes our table away; see Applier.
func (k *Kernel) Remove() error {
	if k.broken != nil {
		return k.broken
	}
	// Adding first makes the deletion good whether or not there is a table.
	k.conn.AddTable(ourTable)
	k.conn.DelTable(ourTable)
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("rules: remove: %w", explain(err))
	}
	return nil
}

// State tells what is there; see Applier. The base chains of a table that queues
// start with the rule for our mark.
func (k *Kernel) State() (State, error) {
	list, err := k.ownRules()
	if err != nil || len(list) == 0 {
		return StateNone, err
	}
	for _, r := range list {
		if v, ok := r.Exprs[len(r.Exprs)-1].(*expr.Verdict); ok && v.Kind == expr.VerdictAccept {
			return StateActive, nil
		}
	}
	return StateBlock, nil
}

// Queues lists the numbers of the queues that our rules lead to.
func (k *Kernel) Queues() ([]uint16, error) {
	list, err := k.ownRules()
	if err != nil {
		return nil, err
	}
	var numbers []uint16
	for _, r := range list {
		var q Queues
		switch t := r.Exprs[len(r.Exprs)-1].(type) {
		case *expr.Queue:
			q = Queues{t.Num, t.Total}
		case *expr.Target:
			if info, ok := t.Info.(*xt.Unknown); ok && len(*info) >= 4 {
				q = Queues{binary.NativeEndian.Uint16(*info), binary.NativeEndian.Uint16((*info)[2:])}
			}
		}
		for i := range q.Count {
			if n := q.First + i; !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers, nil
}

// ownChains lists the chains of our table; nil where there is no table.
func (k *Kernel) ownChains() ([]*nftables.Chain, error) {
	tables, err := k.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("rules: list tables: %w", explain(err))
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == TableName }) {
		return nil, nil
	}
	chains, err := k.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("rules: list chains: %w", explain(err))
	}
	own := []*nftables.Chain{}
	for _, c := range chains {
		if c.Table.Name == TableName {
			own = append(own, c)
		}
	}
	return own, nil
}

// ownRules lists the rules of our table.
func (k *Kernel) ownRules() ([]*nftables.Rule, error) {
	chains, err := k.ownChains()
	if err != nil {
		return nil, err
	}
	var own []*nftables.Rule
	for _, c := range chains {
		list, err := k.conn.GetRules(ourTable, c)
		if err != nil {
			return nil, fmt.Errorf("rules: list rules: %w", explain(err))
		}
		for _, r := range list {
			if len(r.Exprs) > 0 {
				own = append(own, r)
			}
		}
	}
	return own, nil
}
