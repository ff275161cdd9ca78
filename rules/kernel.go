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
	// Apply replaces what stands under our table name; the rules change in one
	// transaction.
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

// State tells what is there; see Applier.
func (k *Kernel) State() (State, error) {
	list, err := k.ownRules()
	if err != nil || len(list) == 0 {
		return StateNone, err
	}
	for _, r := range list {
		if _, ok := queuesOf(r); ok {
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
		q, _ := queuesOf(r)
		for i := range q.Count {
			if n := q.First + i; !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers, nil
}

// queuesOf tells which queues a rule leads to.
func queuesOf(r *nftables.Rule) (Queues, bool) {
	switch t := r.Exprs[len(r.Exprs)-1].(type) {
	case *expr.Queue:
		return Queues{t.Num, t.Total}, true
	case *expr.Target:
		if info, ok := t.Info.(*xt.Unknown); ok && len(*info) >= 4 {
			return Queues{binary.NativeEndian.Uint16(*info), binary.NativeEndian.Uint16((*info)[2:])}, true
		}
	}
	return Queues{}, false
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
