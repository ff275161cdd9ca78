package rules

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func state(t *testing.T, k *Kernel) (State, []uint16) {
	t.Helper()
	s, err := k.State()
	if err != nil {
		t.Fatal(err)
	}
	q, err := k.Queues()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(q)
	return s, q
}

func TestKernelStates(t *testing.T) {
	k, f := openKernelIn(t, newNS(t))
	plan := Plan{Closed: queues, Open: open, Selectors: append(both(ppf.Forward, ppf.Match{Server: plc}), Selector{Hook: ppf.Input, Fail: ppf.FailOpen})}
	blocked := f
	blocked.Block = true
	for _, step := range []struct {
		what   string
		do     func() error
		want   State
		queues []uint16
	}{
		{"nothing yet", func() error { return nil }, StateNone, nil},
		{"remove nothing", k.Remove, StateNone, nil},
		{"apply", func() error { apply(t, k, plan, f); return nil }, StateActive, []uint16{20560, 20561, 20600}},
		{"apply again", func() error { apply(t, k, plan, f); return nil }, StateActive, []uint16{20560, 20561, 20600}},
		{"block", func() error { apply(t, k, plan, blocked); return nil }, StateBlock, nil},
		{"apply after block", func() error { apply(t, k, plan, f); return nil }, StateActive, []uint16{20560, 20561, 20600}},
		{"apply nothing", func() error { apply(t, k, Plan{Closed: queues}, f); return nil }, StateNone, nil},
		{"block from nothing", func() error { apply(t, k, plan, blocked); return nil }, StateBlock, nil},
		{"remove", k.Remove, StateNone, nil},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if s, q := state(t, k); s != step.want || !slices.Equal(q, step.queues) {
			t.Errorf("%s: got %v, queues %v, want %v, %v", step.what, s, q, step.want, step.queues)
		}
	}
	tables, err := k.conn.ListTables()
	if err != nil || len(tables) != 0 {
		t.Errorf("tables left behind: %v, %v", tables, err)
	}
}

// TestApplyReplacesAnything puts a table in the way that another version, or
// somebody else, might have left under our name.
func TestApplyReplacesAnything(t *testing.T) {
	k, f := openKernelIn(t, newNS(t))
	rs, err := Compile(goldenPlans[1].plan, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(rs); err != nil {
		t.Fatal(err)
	}
	want := listing(t, k)
	table := k.conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: TableName})
	k.conn.DelTable(table)
	k.conn.AddTable(table)
	drop := nftables.ChainPolicyDrop
	for _, c := range []*nftables.Chain{
		{Name: "forward", Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityRef(7)},
		{Name: "fragments", Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(-450), Policy: &drop},
		{Name: "forward_errors_ip"},
		{Name: "stranger", Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRef(0)},
	} {
		c.Table = table
		if c.Hooknum != nil {
			c.Type = nftables.ChainTypeFilter
		}
		k.conn.AddChain(c)
		k.conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: new(builder).family(false).accept().exprs})
	}
	if err := k.conn.AddSet(&nftables.Set{Table: table, Name: "forward_daddr_ip", KeyType: nftables.TypeIPAddr}, nil); err != nil {
		t.Fatal(err)
	}
	if err := k.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(rs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, listing(t, k)); diff != "" {
		t.Errorf("after Apply over a stranger's table (-want +got):\n%s", diff)
	}
}

// setSuffix tells sets of different Applies apart.
var setSuffix = regexp.MustCompile(`\.[0-9]+\b`)

// listing describes our table as the kernel has it.
func listing(t *testing.T, k *Kernel) []string {
	t.Helper()
	old, err := k.standing()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, s := range old.sets {
		list = append(list, "set "+setSuffix.ReplaceAllString(s.Name, ""))
	}
	for _, c := range old.chains {
		text := "chain " + c.Name
		if c.Hooknum != nil {
			text += fmt.Sprintf(" hook %d priority %d policy %d", *c.Hooknum, *c.Priority, *c.Policy)
		}
		rules, err := k.conn.GetRules(ourTable, c)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s, %d rules", text, len(rules)))
	}
	slices.Sort(list)
	return list
}

// manyPlan has n plain instances and m with devices and exclusions.
func manyPlan(n, m int) Plan {
	p := Plan{Closed: queues}
	addr := netip.MustParseAddr("2001:db8:3::")
	for i := range n + m {
		addr = addr.Next()
		match := ppf.Match{Protocol: packet.ProtoTCP, Server: []netip.Prefix{netip.PrefixFrom(addr, 128)}, Port: port(uint16(1000 + i))}
		if i >= n {
			match.In = fmt.Sprintf("eth%d", i)
			match.Not = []ppf.Match{{Client: prefixes("2001:db8:1::/64")}, {In: "eth0"}}
		}
		p.Selectors = append(p.Selectors, both(ppf.Forward, match)...)
	}
	return p
}

func TestManyInstances(t *testing.T) {
	plain, err := Compile(manyPlan(1000, 0), native)
	if err != nil {
		t.Fatal(err)
	}
	few, err := Compile(manyPlan(2, 0), native)
	if err != nil {
		t.Fatal(err)
	}
	count := func(r *Ruleset) (n int) {
		for _, c := range r.chains {
			n += len(c.rules)
		}
		return n
	}
	if count(plain) != count(few) {
		t.Errorf("1,000 instances: %d rules, 2: %d; want the same", count(plain), count(few))
	}
	k, f := openKernelIn(t, newNS(t))
	if k.room < socketBuffer {
		t.Skip("needs CAP_NET_ADMIN in the first user namespace for a large socket buffer")
	}
	apply(t, k, manyPlan(1000, 300), f)
	if s, q := state(t, k); s != StateActive || !slices.Equal(q, []uint16{20560, 20561}) {
		t.Errorf("1,300 instances: got %v, queues %v", s, q)
	}
	apply(t, k, manyPlan(300, 900), f)
	apply(t, k, manyPlan(2, 0), f)
	if got, want := len(listing(t, k)), len(few.chains)+len(few.sets); got != want {
		t.Errorf("after one instance again: %d chains and sets, want %d", got, want)
	}
}

func TestTooLargeForTheSocket(t *testing.T) {
	k, f := openKernelIn(t, newNS(t))
	apply(t, k, manyPlan(1, 0), f)
	want := listing(t, k)
	k.room = 416 << 10 // what an ordinary user gets
	rs, err := Compile(manyPlan(0, 300), f)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(rs); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
	if diff := cmp.Diff(want, listing(t, k)); diff != "" {
		t.Errorf("the old rules changed (-want +got):\n%s", diff)
	}
	if rs, err = Compile(manyPlan(1000, 0), f); err == nil {
		err = k.Apply(rs)
	}
	if err != nil {
		t.Errorf("1,000 plain instances: %v", err)
	}
}

// TestNoOpenMoment replaces rules in a storm of packets while nobody listens on
// the queues, as after kill -9: not one may get through, whoever replaces what.
func TestNoOpenMoment(t *testing.T) {
	n := newNetwork(t)
	k, f := openKernelIn(t, n.router)
	successor, _ := openKernelIn(t, n.router)
	w := openWire(t, n.client, "eth0", n.mac["peer/client0"], n.mac["router/client0"])
	var server *net.UDPConn
	inNS(t, n.server, func() {
		var err error
		if server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: serverAddr.AsSlice(), Port: 7777}); err != nil {
			t.Error(err)
		}
	})
	defer server.Close()
	datagram := func(text string) []byte {
		u := append(udp(1, 7777)[:8], text...)
		u[4], u[5] = 0, byte(len(u))
		return ip4(clientAddr, serverAddr, 17, 0, u)
	}
	// deliver sends a text until the server gets anything but what is passed over;
	// the storm may fill a queue on the way, which loses packets.
	deliver := func(text, over string) string {
		b := make([]byte, 100)
		for end := time.Now().Add(patience); time.Now().Before(end); {
			w.send(t, datagram(text))
			if err := server.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if i, err := server.Read(b); err == nil && string(b[:i]) != over {
				return string(b[:i])
			} else if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		t.Fatalf("the server never got %q", text)
		return ""
	}
	if got := deliver("before", ""); got != "before" {
		t.Fatalf("without rules: got %q", got)
	}

	m := ppf.Match{Protocol: packet.ProtoUDP, Server: []netip.Prefix{netip.PrefixFrom(serverAddr, 32)}, Port: port(7777)}
	more := m
	more.Server = append(prefixes("203.0.113.0/24"), m.Server...)
	more.Not = []ppf.Match{{Client: prefixes("203.0.113.7/32")}}
	blocked := f
	blocked.Block = true
	changes := []func(){
		func() { apply(t, k, Plan{Closed: queues, Selectors: both(ppf.Forward, m)}, f) },
		func() { apply(t, successor, Plan{Closed: queues, Selectors: both(ppf.Forward, m)}, f) },
		func() { apply(t, successor, Plan{Closed: queues, Selectors: both(ppf.Forward, more)}, f) },
		func() {
			apply(t, k, Plan{Closed: queues, Selectors: append(manyPlan(50, 10).Selectors, both(ppf.Forward, m)...)}, f)
		},
		func() { apply(t, successor, Plan{Closed: queues, Selectors: both(ppf.Forward, m)}, blocked) },
	}
	changes[0]()
	var sent atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		storm := datagram("storm")
		for {
			select {
			case <-stop:
				return
			default:
				if !t.Failed() {
					w.send(t, storm)
				}
				sent.Add(1)
			}
		}
	}()
	for i := range 50 {
		// Some of the storm passes between any two changes.
		for before := sent.Load(); sent.Load() < before+200; {
			unix.Nanosleep(&unix.Timespec{Nsec: 1000}, nil)
		}
		changes[i%len(changes)]()
	}
	close(stop)
	<-stopped
	if err := k.Remove(); err != nil {
		t.Fatal(err)
	}
	if got := deliver("after", "before"); got != "after" {
		t.Errorf("a packet got through one of 50 changes under %d packets: %q", sent.Load(), got)
	}
}

// TestTextIsWhatIsApplied loads a ruleset's text with nft and compares what the
// kernel then lists with what Apply made. Drops stand in for the queue targets,
// which not every kernel has for nft.
func TestTextIsWhatIsApplied(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft")
	}
	k, f := openKernelIn(t, newNS(t))
	_ = k
	f.Block = true
	for _, c := range goldenPlans {
		t.Run(c.name, func(t *testing.T) {
			rs, err := Compile(c.plan, f)
			if err != nil {
				t.Fatal(err)
			}
			if len(rs.chains) == 0 {
				return
			}
			ours, theirs := newNS(t), newNS(t)
			k, _ := openKernelIn(t, ours)
			if err := k.Apply(rs); err != nil {
				t.Fatal(err)
			}
			run(t, theirs, rs.String(), nft, "-f", "-")
			if diff := cmp.Diff(nftList(t, theirs, nft), nftList(t, ours, nft)); diff != "" {
				t.Errorf("nft -f of the text (-), Apply (+):\n%s", diff)
			}
		})
	}
}

// nftList lists a namespace's rules, without the elements of sets whose type nft
// cannot name.
func nftList(t *testing.T, ns netns.NsHandle, nft string) string {
	t.Helper()
	var kept []string
	quoted := false
	for line := range strings.Lines(run(t, ns, "", nft, "list", "ruleset")) {
		if strings.HasPrefix(line, "\tset ") {
			quoted = strings.Contains(line, "_quoted_")
		} else if strings.HasPrefix(line, "\tchain ") {
			quoted = false
		}
		if !quoted {
			kept = append(kept, line)
		}
	}
	return setSuffix.ReplaceAllString(strings.Join(kept, ""), "")
}

// run runs a program in a namespace.
func run(t *testing.T, ns netns.NsHandle, stdin, name string, args ...string) string {
	t.Helper()
	var out []byte
	inNS(t, ns, func() {
		c := exec.Command(name, args...)
		c.Stdin = strings.NewReader(stdin)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		var err error
		if out, err = c.Output(); err != nil {
			t.Errorf("%s %v: %v\n%s\n%s", name, args, err, stderr.String(), stdin)
		}
	})
	return string(out)
}

// TestNftListsQueues asks nft to list rules with the queue target that this
// kernel has.
func TestNftListsQueues(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft")
	}
	ns := newNS(t)
	k, f := openKernelIn(t, ns)
	// What nft prints of the compat target comes from a plugin of iptables.
	if _, err := exec.LookPath("iptables"); err != nil && f.Queue == QueueCompat {
		t.Skip("needs iptables")
	}
	apply(t, k, Plan{Closed: queues, Open: open, Selectors: []Selector{{Hook: ppf.Forward}, {Hook: ppf.Input, Fail: ppf.FailOpen}}}, f)
	text := run(t, ns, "", nft, "list", "ruleset")
	if got := strings.Count(text, "NFQUEUE") + strings.Count(text, "queue"); got < 4 {
		t.Errorf("nft lists %d queue targets, want at least 4:\n%s", got, text)
	}
}

func TestProbeLeavesNothing(t *testing.T) {
	k, f := openKernelIn(t, newNS(t))
	if f.Queue == QueueNone || f.Block {
		t.Errorf("got %+v, want a way to queue", f)
	}
	tables, err := k.conn.ListTables()
	if err != nil || len(tables) != 0 {
		t.Errorf("tables left behind: %v, %v", tables, err)
	}
}

func TestExamine(t *testing.T) {
	ns := newNS(t)
	k, f := openKernelIn(t, ns)
	apply(t, k, goldenPlans[1].plan, f)
	var list []Finding
	inNS(t, ns, func() { list = Examine() })
	var names []string
	for _, x := range list {
		names = append(names, x.Name)
		if !x.OK || x.Detail == "" {
			t.Errorf("%+v: want it to be there, with a detail", x)
		}
		if x.Name == "table inet promethos" && !strings.HasPrefix(x.Detail, "active") {
			t.Errorf("%+v: want active", x)
		}
	}
	want := []string{"CAP_NET_ADMIN", "nf_tables", "nf_tables interval sets", "queue target", "table inet promethos",
		"own addresses", "fragments", "transparent proxy", "socket match", "reject", "conntrack zones", "other firewalls", "inline pairs", "IPv6", "connection tracking"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestExamineNeeds: what a kernel has not is told with what holds without it, and how
// to get it.
func TestExamineNeeds(t *testing.T) {
	k, _ := openKernelIn(t, newNS(t))
	lacking := func(table *nftables.Table) error {
		return k.tryRule(table, nftables.ChainHookPrerouting, &expr.Lookup{SourceRegister: 1, SetName: "nowhere"})
	}
	for _, n := range append(k.packetNeeds(), k.streamNeeds()...) {
		if n.without == "" || n.option == "" || n.module == "" {
			t.Errorf("%+v", n)
		}
		n.try = lacking
		got := k.examineNeeds([]need{n})
		if len(got) != 1 || got[0].Name != n.name || !got[0].OK || !strings.Contains(got[0].Detail, n.without) || got[0].Fix != "modprobe "+n.module+", or a kernel with "+n.option {
			t.Errorf("%+v", got)
		}
	}
}
