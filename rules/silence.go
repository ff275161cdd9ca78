package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ErrNoIngress reports a kernel that cannot drop frames at an interface.
var ErrNoIngress = errors.New("the kernel cannot drop frames at an interface (CONFIG_NETFILTER_INGRESS and CONFIG_NF_TABLES_NETDEV)")

// Silence keeps the host's own stack off the ports of inline pairs: a table of
// family netdev drops what comes in there behind the taps of packet sockets, and
// what goes out without our mark. It stands until Remove, also when the program is
// killed. A Silence is safe for concurrent use.
type Silence struct {
	mu sync.Mutex
	k  *Kernel
}

// silenceTable is our table in family netdev.
var silenceTable = &nftables.Table{Family: nftables.TableFamilyNetdev, Name: TableName}

// OpenSilence is OpenKernel for a Silence.
func OpenSilence() (*Silence, error) {
	k, err := OpenKernel()
	if err != nil {
		return nil, err
	}
	return &Silence{k: k}, nil
}

// Close closes the netlink socket; the rules stay.
func (s *Silence) Close() error { return s.k.Close() }

// Add silences the host at an interface, which must be there, in one transaction.
// A kernel that knows no egress hook (before Linux 5.16) keeps the host deaf only.
// The error wraps ErrNoPermission or ErrNoIngress.
func (s *Silence) Add(port string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.chains()
	if err != nil {
		return err
	}
	if err = s.replace(port, old, true); errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		err = s.replace(port, old, false)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("rules: silence %s: %w", port, ErrNoIngress)
	}
	if err != nil {
		return fmt.Errorf("rules: silence %s: %w", port, explain(err))
	}
	return nil
}

func (s *Silence) replace(port string, old []*nftables.Chain, egress bool) error {
	conn := s.k.conn
	conn.AddTable(silenceTable)
	for _, c := range old {
		if c.Name == ingressChain(port) || c.Name == egressChain(port) {
			conn.FlushChain(c)
			conn.DelChain(c)
		}
	}
	s.drop(silenceTable, ingressChain(port), port, nftables.ChainHookIngress)
	if egress {
		c := s.drop(silenceTable, egressChain(port), port, nftables.ChainHookEgress)
		conn.AddRule(&nftables.Rule{Table: silenceTable, Chain: c, Exprs: append(new(builder).ours().r.exprs, &expr.Verdict{Kind: expr.VerdictAccept})})
	}
	return conn.Flush()
}

// drop adds a chain whose policy is to drop.
func (s *Silence) drop(t *nftables.Table, name, port string, hook *nftables.ChainHook) *nftables.Chain {
	policy := nftables.ChainPolicyDrop
	return s.k.conn.AddChain(&nftables.Chain{
		Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook,
		Priority: nftables.ChainPriorityFilter, Device: port, Policy: &policy,
	})
}

func ingressChain(port string) string { return "in." + port }
func egressChain(port string) string  { return "out." + port }

// chains lists the chains of our table; none where there is no table.
func (s *Silence) chains() ([]*nftables.Chain, error) {
	tables, err := s.k.conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rules: list tables: %w", explain(err))
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == TableName }) {
		return nil, nil
	}
	chains, err := s.k.conn.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
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

// Ports lists the interfaces at which the host is silenced.
func (s *Silence) Ports() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chains, err := s.chains()
	var ports []string
	for _, c := range chains {
		if port, ok := strings.CutPrefix(c.Name, ingressChain("")); ok {
			ports = append(ports, port)
		}
	}
	return ports, err
}

// Keep ends the silence at all interfaces but those named.
func (s *Silence) Keep(ports []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	chains, err := s.chains()
	if err != nil || chains == nil {
		return err
	}
	if len(ports) == 0 {
		s.k.conn.DelTable(silenceTable)
	}
	for _, c := range chains {
		if !slices.ContainsFunc(ports, func(p string) bool { return c.Name == ingressChain(p) || c.Name == egressChain(p) }) && len(ports) > 0 {
			s.k.conn.FlushChain(c)
			s.k.conn.DelChain(c)
		}
	}
	if err := s.k.conn.Flush(); err != nil {
		return fmt.Errorf("rules: end silence: %w", explain(err))
	}
	return nil
}

// SilenceText writes the rules of Add for all ports in nft's own syntax; "" for
// none.
func SilenceText(ports []string) string {
	if len(ports) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev %s {\n", TableName)
	for _, p := range ports {
		fmt.Fprintf(&b, "\tchain %s { # what the host's own stack would hear\n\t\ttype filter hook ingress device %q priority filter; policy drop;\n\t}\n", ingressChain(p), p)
		fmt.Fprintf(&b, "\tchain %s { # what it would say\n\t\ttype filter hook egress device %q priority filter; policy drop;\n\t\t%s accept\n\t}\n",
			egressChain(p), p, strings.Join(new(builder).ours().r.text, " "))
	}
	b.WriteString("}\n")
	return b.String()
}

// examineIngress tells whether inline pairs can be silenced; who has none needs it
// not.
func (k *Kernel) examineIngress() Finding {
	f := Finding{Name: "inline pairs", OK: true, Detail: "the host can be kept silent at their ports"}
	table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: TableName + "_probe"}
	for _, hook := range []*nftables.ChainHook{nftables.ChainHookIngress, nftables.ChainHookEgress} {
		k.conn.AddTable(table)
		(&Silence{k: k}).drop(table, "probe", "lo", hook)
		k.conn.DelTable(table)
		err := k.conn.Flush()
		switch {
		case err != nil && hook == nftables.ChainHookEgress:
			f.Detail = "the host can be kept deaf at their ports, but not dumb"
			f.Fix = "Linux 5.16 or newer with CONFIG_NETFILTER_EGRESS; or give the ports no address"
		case err != nil:
			return Finding{Name: f.Name, OK: true, Detail: "not possible: " + err.Error(), Fix: "a kernel with CONFIG_NETFILTER_INGRESS and CONFIG_NF_TABLES_NETDEV, if there shall be any"}
		}
	}
	return f
}
