package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Why the kernel's rules cannot be made.
var (
	// ErrNoPermission reports that CAP_NET_ADMIN is missing.
	ErrNoPermission = errors.New("not permitted (run as root or with CAP_NET_ADMIN)")
	// ErrNoNFTables reports a kernel without nf_tables.
	ErrNoNFTables = errors.New("the kernel has no nf_tables (CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET, or `modprobe nf_tables`)")
	// ErrNoIntervalSets reports a kernel without sets of concatenated intervals.
	ErrNoIntervalSets = errors.New("the kernel has no sets of concatenated intervals (Linux 5.6 or newer)")
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
	// Defragment makes Compile have the kernel put fragments together.
	Defragment bool
	// Own says that a rule can tell this machine's addresses: without it sequence
	// numbers are carried over where the servers of an instance are a network.
	Own bool
	// Flood says that rules can tell when too many packets come, and remember it:
	// without it all SYNs have a queue of their own.
	Flood bool
	// Block makes Compile write drops where queues stand.
	Block bool
}

// explain adds the fix to what the kernel says.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return ErrNoPermission
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: %w", ErrNoNFTables, err)
	}
	return err
}

// try runs a transaction that makes a table of its own, what f adds to it, and
// takes it away again: nothing of it is ever seen.
func (k *Kernel) try(f func(*nftables.Table) error) error {
	table := k.conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: TableName + "_probe"})
	err := f(table)
	k.conn.DelTable(table)
	return errors.Join(err, k.conn.Flush())
}

// Probe finds out how rules can queue. The error wraps ErrNoPermission,
// ErrNoNFTables, ErrNoIntervalSets or ErrNoQueueTarget.
func (k *Kernel) Probe() (Features, error) {
	if err := k.try(func(*nftables.Table) error { return nil }); err != nil {
		return Features{}, fmt.Errorf("rules: probe: %w", explain(err))
	}
	if err := k.try(k.tryIntervalSet); err != nil {
		return Features{}, fmt.Errorf("rules: probe: %w: %w", ErrNoIntervalSets, err)
	}
	var failures error
	for _, q := range []QueueTarget{QueueNative, QueueCompat} {
		err := k.try(func(t *nftables.Table) error { return k.tryQueue(t, q) })
		if err == nil {
			return Features{Queue: q, Defragment: k.try(k.tryDefragment) == nil, Own: k.try(k.tryOwn) == nil, Flood: k.try(k.tryFlood) == nil}, nil
		}
		failures = errors.Join(failures, fmt.Errorf("%v: %w", q, err))
	}
	return Features{}, fmt.Errorf("rules: probe: %w: %w", ErrNoQueueTarget, failures)
}

func (k *Kernel) tryIntervalSet(t *nftables.Table) error {
	s := set{name: "probe", shape: shape{dst: true, dport: true}}
	s.boxes = []box{{src: every4, dst: every4, protoHi: 255, dport: anyPort}}
	_, err := k.addSet(t, &s, s.name)
	return err
}

func (k *Kernel) tryQueue(t *nftables.Table, q QueueTarget) error {
	c := compiler{plan: &Plan{Closed: Queues{First: 0, Count: 1}}, features: Features{Queue: q}}
	ch := k.conn.AddChain(&nftables.Chain{Name: "probe", Table: t})
	k.conn.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: c.take(new(builder), 0).exprs})
	return nil
}

func (k *Kernel) tryDefragment(t *nftables.Table) error {
	return k.tryRule(t, nftables.ChainHookPrerouting, new(builder).defragment().exprs...)
}

func (k *Kernel) tryOwn(t *nftables.Table) error {
	return k.tryRule(t, nftables.ChainHookPrerouting, new(builder).own(fieldDst).accept().exprs...)
}

func (k *Kernel) tryFlood(t *nftables.Table) error {
	ns, err := k.addSet(t, floodSet, floodSet.name)
	if err != nil {
		return err
	}
	r := new(builder).over(1).noteFlood().accept()
	return k.tryRule(t, nftables.ChainHookPrerouting, r.lookInto(ns)...)
}

// Finding is one thing that the rules need or that matters to them.
type Finding struct {
	Name string `json:"name"`
	// OK is false where something is missing that is needed.
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // how to get what is missing
}

// Examine looks at the calling thread's network namespace for `doctor`. It
// changes nothing, and stops at what everything after it needs.
func Examine() []Finding {
	k, err := OpenKernel()
	if err != nil {
		return []Finding{missing("nf_tables", err)}
	}
	defer k.Close()
	return append(k.examine(), k.examineIngress(), examineIPv6(), examineConntrack())
}

func (k *Kernel) examine() []Finding {
	f, err := k.Probe()
	if errors.Is(err, ErrNoPermission) {
		return []Finding{missing("CAP_NET_ADMIN", err)}
	}
	list := []Finding{{Name: "CAP_NET_ADMIN", OK: true, Detail: "present"}}
	if errors.Is(err, ErrNoNFTables) {
		return append(list, missing("nf_tables", err))
	}
	list = append(list, Finding{Name: "nf_tables", OK: true, Detail: "present"})
	if errors.Is(err, ErrNoIntervalSets) {
		return append(list, missing("nf_tables interval sets", err))
	}
	list = append(list, Finding{Name: "nf_tables interval sets", OK: true, Detail: "present"})
	if err != nil {
		return append(list, missing("queue target", err))
	}
	list = append(list, Finding{Name: "queue target", OK: true, Detail: f.Queue.String()})
	state, err := k.State()
	if err != nil {
		return append(list, missing("table inet "+TableName, err))
	}
	list = append(list, Finding{Name: "table inet " + TableName, OK: true, Detail: stateDetails[state]})
	list = append(list, k.examineNeeds(slices.Concat(k.packetNeeds(), k.streamNeeds()))...)
	return append(list, k.Firewalls()...)
}

var stateDetails = [...]string{
	StateNone:   "not there: nothing is selected",
	StateActive: "active: packets go to queues, and are dropped where nobody listens (`promethos unblock` removes what a killed daemon left)",
	StateBlock:  "block: what instances select is dropped (`promethos unblock` removes it)",
}

// missing turns an error into a finding; the text in the sentinel's parentheses is
// the fix.
func missing(name string, err error) Finding {
	f := Finding{Name: name, Detail: err.Error()}
	for _, e := range []error{ErrNoPermission, ErrNoNFTables, ErrNoIntervalSets, ErrNoQueueTarget} {
		if errors.Is(err, e) {
			detail, fix, _ := strings.Cut(e.Error(), " (")
			f.Detail, f.Fix = detail, strings.TrimSuffix(fix, ")")
		}
	}
	return f
}

// examineIPv6 tells whether this host handles IPv6; its rules do no harm where it
// does not.
func examineIPv6() Finding {
	f := Finding{Name: "IPv6", OK: true, Detail: "present"}
	b, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Detail = "not in this kernel: only IPv4 is taken"
	case err != nil:
		f.Detail = err.Error()
	case len(b) == 0:
		f.Detail = "no interface has an address"
	}
	return f
}

// examineConntrack tells whether connections are tracked in this namespace, which
// is what docs/hooks.md distinguishes. The kernel tracks only where a rule asks
// for it, so entries are the evidence.
func examineConntrack() Finding {
	f := Finding{Name: "connection tracking", OK: true}
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	n := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		f.Detail = "not in this kernel: the operator's rules are stateless"
	case n == "0":
		f.Detail = "no connection is tracked now"
	default:
		f.Detail = n + " connections are tracked: invalid packets and fragments may end before or after us (docs/hooks.md)"
	}
	return f
}
