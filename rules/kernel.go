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

// Why the kernel's rules cannot be made.
var (
	// ErrNoPermission reports that CAP_NET_ADMIN is missing.
	ErrNoPermission = errors.New("not permitted (run as root or with CAP_NET_ADMIN)")
	// ErrNoNFTables reports a kernel without nf_tables.
	ErrNoNFTables = errors.New("the kernel has no nf_tables (CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET, or `modprobe nf_tables`)")
	// ErrNoQueueTarget reports a kernel that can queue from no rule.
	ErrNoQueueTarget = errors.New("the kernel can queue from no rule (CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT with CONFIG_NETFILTER_XT_TARGET_NFQUEUE)")
)

// QueueTarget is how a rule hands packets to a queue.
type QueueTarget uint8

// The ways to queue.
const (
	QueueNone   QueueTarget = iota
	QueueNative             // the nft expression `queue`
	QueueCompat             // the xtables target NFQUEUE through nft_compat
)

var queueTargetNames = [...]string{"none", "native nft queue", "xtables NFQUEUE through nft_compat"}

// String names the way.
func (q QueueTarget) String() string { return queueTargetNames[q] }

// Features is what the kernel can do.
type Features struct {
	Queue QueueTarget
	// Block makes Compile write drops where queues stand.
	Block bool
}

// State is what stands under our table name.
type State uint8

// The states.
const (
	StateNone   State = iota
	StateActive       // rules that queue
	StateBlock        // rules that drop
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
type Kernel struct{ conn *nftables.Conn }

var _ Applier = (*Kernel)(nil)

// socketBuffer holds a whole transaction.
const socketBuffer = 64 << 20

// OpenKernel opens nf_tables in the network namespace of the calling thread;
// later calls may come from any thread.
func OpenKernel() (*Kernel, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		// Best effort: a smaller buffer only limits the size of a ruleset.
		_ = c.SetOption(netlink.NoENOBUFS, true)
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
		})
	}))
	if err != nil {
		return nil, fmt.Errorf("rules: open nf_tables: %w", explain(err))
	}
	return &Kernel{conn}, nil
}

// Close closes the netlink socket; the rules stay.
func (k *Kernel) Close() error { return k.conn.CloseLasting() }

func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return ErrNoPermission
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: %w", ErrNoNFTables, err)
	}
	return err
}

// Probe finds out how rules can queue, by a transaction with a rule that selects
// nothing, in a table of its own that goes again at once.
func (k *Kernel) Probe() (Features, error) {
	var failure error
	for _, q := range []QueueTarget{QueueNative, QueueCompat} {
		table := k.conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: TableName + "_probe"})
		ch := k.conn.AddChain(&nftables.Chain{Name: "probe", Table: table})
		c := compiler{plan: &Plan{Closed: Queues{0, 1}}, features: Features{Queue: q}}
		k.conn.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: c.queue(&builder{}, 0).exprs})
		k.conn.DelTable(table)
		if failure = explain(k.conn.Flush()); failure == nil {
			return Features{Queue: q}, nil
		}
		if errors.Is(failure, ErrNoPermission) || errors.Is(failure, ErrNoNFTables) {
			return Features{}, fmt.Errorf("rules: probe: %w", failure)
		}
	}
	return Features{}, fmt.Errorf("rules: probe: %w: %w", ErrNoQueueTarget, failure)
}

// elementsPerMessage keeps the list of elements below the 64 KiB of a netlink
// attribute.
const elementsPerMessage = 400

// Apply replaces our table; see Applier.
func (k *Kernel) Apply(rs *Ruleset) error {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	// Adding first makes the deletion good whether or not there is a table.
	k.conn.AddTable(table)
	k.conn.DelTable(table)
	table = k.conn.AddTable(table)
	for _, c := range rs.chains {
		sets := map[*set]*nftables.Set{}
		for _, s := range c.sets {
			ns := s.nft(table)
			if err := k.conn.AddSet(ns, nil); err != nil {
				return fmt.Errorf("rules: set %s: %w", s.name, err)
			}
			for part := range slices.Chunk(s.elements(), elementsPerMessage) {
				if err := k.conn.SetAddElements(ns, part); err != nil {
					return fmt.Errorf("rules: set %s: %w", s.name, err)
				}
			}
			sets[s] = ns
		}
		ch := k.conn.AddChain(&nftables.Chain{
			Name: c.info.name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum:  nftables.ChainHookRef(nftables.ChainHook(c.info.hook - 1)),
			Priority: nftables.ChainPriorityRef(nftables.ChainPriority(c.info.priority)),
		})
		for _, r := range c.rules {
			exprs := slices.Clone(r.exprs)
			for i, s := range r.sets {
				lookup := *exprs[i].(*expr.Lookup)
				lookup.SetName, lookup.SetID = sets[s].Name, sets[s].ID
				exprs[i] = &lookup
			}
			k.conn.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: exprs})
		}
	}
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("rules: apply: %w", explain(err))
	}
	return nil
}

// nft gives the kernel's form of a set.
func (s *set) nft(table *nftables.Table) *nftables.Set {
	addr := nftables.TypeIPAddr
	if s.v6 {
		addr = nftables.TypeIP6Addr
	}
	types := []nftables.SetDatatype{addr, nftables.TypeInetProto}
	if s.ports {
		types = append(types, nftables.TypeInetService)
	}
	return &nftables.Set{
		Table: table, Name: s.name, Interval: true, Concatenation: true, KeyType: nftables.MustConcatSetType(types...),
	}
}

// Remove takes our table away; see Applier.
func (k *Kernel) Remove() error {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	k.conn.AddTable(table)
	k.conn.DelTable(table)
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("rules: remove: %w", explain(err))
	}
	return nil
}

// State tells what is there; see Applier.
func (k *Kernel) State() (State, error) {
	list, err := k.ownRules()
	if err != nil || list == nil {
		return StateNone, err
	}
	for _, r := range list {
		// Only an active table starts its chains with the rule for our mark.
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
		var first, total uint16
		switch t := r.Exprs[len(r.Exprs)-1].(type) {
		case *expr.Queue:
			first, total = t.Num, t.Total
		case *expr.Target:
			if info, ok := t.Info.(*xt.Unknown); ok && len(*info) >= 4 {
				first, total = binary.NativeEndian.Uint16(*info), binary.NativeEndian.Uint16((*info)[2:])
			}
		}
		for i := range total {
			if n := first + i; !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers, nil
}

// ownRules lists the rules of our table; nil where there is no table.
func (k *Kernel) ownRules() ([]*nftables.Rule, error) {
	tables, err := k.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("rules: list tables: %w", explain(err))
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == TableName })
	if i < 0 {
		return nil, nil
	}
	chains, err := k.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("rules: list chains: %w", explain(err))
	}
	own := []*nftables.Rule{}
	for _, c := range chains {
		if c.Table.Name != TableName {
			continue
		}
		list, err := k.conn.GetRules(tables[i], c)
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
