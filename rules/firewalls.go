package rules

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewall is a program whose rules are known by the names of its chains.
type firewall struct {
	name     string
	prefixes []string
	// rejects says that what it does not know ends by a rule, whatever the policy.
	rejects bool
	fix     string // by which it lets a server's traffic through
}

var knownFirewalls = []firewall{
	{"docker", []string{"DOCKER"}, false,
		"iptables -I DOCKER-USER -d SERVER -j ACCEPT, and the same with -s (ip6tables for IPv6)"},
	{"ufw", []string{"ufw-", "ufw6-"}, false,
		"ufw route allow to SERVER, and ufw route allow from SERVER; for chains that end connections: ufw allow proto tcp to any port PORT"},
	{"firewalld", []string{"filter_FORWARD", "filter_FWD", "FORWARD_direct", "FWDI_"}, true,
		"firewall-cmd --permanent --new-policy promethos, then with --permanent --policy promethos: --add-ingress-zone ANY, --add-egress-zone ANY, " +
			"--add-rich-rule 'rule family=ipv4 destination address=SERVER accept', the same with source; then firewall-cmd --reload"},
}

// judge is what the chains of one firewall mean for ours.
type judge struct {
	name, fix string
	rejects   bool
	tables    []string
	chains    []string // base chains, as people read them
	means     []string
	closed    bool // what it does not know does not pass
}

// Firewalls tells of the rules of others where packets of ours pass: one that we send
// may still end there. Nothing of them is ever changed.
func (k *Kernel) Firewalls() []Finding {
	chains, err := k.conn.ListChains()
	if err != nil {
		return []Finding{missing("other firewalls", fmt.Errorf("list chains: %w", explain(err)))}
	}
	return append(firewalls(chains), legacyTables()...)
}

func firewalls(chains []*nftables.Chain) []Finding {
	known := map[string][]int{} // table to indices of knownFirewalls
	for _, c := range chains {
		for i, f := range knownFirewalls {
			table := tableName(c.Table)
			if slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(c.Name, p) }) && !slices.Contains(known[table], i) {
				known[table] = append(known[table], i)
			}
		}
	}
	var judges []*judge
	of := func(j judge) *judge {
		if i := slices.IndexFunc(judges, func(other *judge) bool { return other.name == j.name }); i >= 0 {
			return judges[i]
		}
		judges = append(judges, &j)
		return &j
	}
	for _, c := range chains {
		table := tableName(c.Table)
		if c.Table.Name == TableName || c.Hooknum == nil || table == "" {
			continue
		}
		if len(known[table]) == 0 {
			of(judge{name: table, fix: "nft insert rule " + table + " " + c.Name + " ip daddr SERVER accept, and the same with saddr (ip6 for IPv6)"}).add(c)
		}
		for _, i := range known[table] {
			f := &knownFirewalls[i]
			of(judge{name: f.name, fix: f.fix, rejects: f.rejects}).add(c)
		}
	}
	var list []Finding
	for _, j := range judges {
		if len(j.means) > 0 {
			list = append(list, j.finding())
		}
	}
	if len(list) == 0 {
		list = append(list, Finding{Name: "other firewalls", OK: true, Detail: "none judges what passes here"})
	}
	return list
}

// Priorities of ours that chains of others are compared with; docs/hooks.md has all.
const (
	filterPriority  = -10 // input, forward, output
	routingPriority = -90 // prerouting
)

// add takes in a base chain.
func (j *judge) add(c *nftables.Chain) {
	priority := 0
	if c.Priority != nil {
		priority = int(*c.Priority)
	}
	drops := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
	mean := func(text string) {
		if !slices.Contains(j.means, text) {
			j.means = append(j.means, text)
		}
	}
	hook := ""
	switch {
	case c.Type == nftables.ChainTypeNAT && *c.Hooknum == *nftables.ChainHookPrerouting:
		switch hook = "prerouting"; {
		case priority < routingPriority:
			mean("its DNAT comes before our prerouting and forward, where a server has the address behind it")
		case priority == routingPriority:
			mean("its DNAT has the same priority as our prerouting, and which is first is not certain: take hook forward for servers behind it")
		default:
			mean("its DNAT comes after our prerouting, where a server has the address before it")
		}
	case c.Type != nftables.ChainTypeFilter:
		return
	case *c.Hooknum == *nftables.ChainHookForward:
		if hook = "forward"; priority >= filterPriority {
			mean("it judges the packets that we built at forward")
		} else {
			mean("it judges what arrives before us, at forward")
		}
		j.closed = j.closed || drops || j.rejects
	case *c.Hooknum == *nftables.ChainHookInput:
		if hook = "input"; drops || j.rejects {
			mean("it judges clients of servers on this machine, and of chains that end connections, at input")
			j.closed = true
		}
	default:
		return
	}
	if table := tableName(c.Table); !slices.Contains(j.tables, table) {
		j.tables = append(j.tables, table)
	}
	text := fmt.Sprintf("%s (%s %d", c.Name, hook, priority)
	if drops {
		text += ", drops what it does not accept"
	}
	j.chains = append(j.chains, text+")")
}

func (j *judge) finding() Finding {
	f := Finding{Name: "firewall " + j.name, OK: true, Detail: strings.Join(j.chains, ", ") + ": " + strings.Join(j.means, "; ")}
	if !slices.Equal(j.tables, []string{j.name}) {
		f.Detail = "in table " + strings.Join(j.tables, ", ") + " " + f.Detail
	}
	if j.closed {
		f.Fix = "let the server's traffic through there: " + j.fix
	}
	return f
}

// legacyTables tells of rules that iptables-legacy has made: the kernel keeps them
// apart from nftables, and lists their tables only.
func legacyTables() []Finding {
	var tables []string
	for _, family := range []string{"ip", "ip6"} {
		names, err := os.ReadFile("/proc/thread-self/net/" + family + "_tables_names")
		if err != nil {
			continue // none was ever made
		}
		for _, name := range strings.Fields(string(names)) {
			tables = append(tables, family+" "+name)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	return []Finding{{
		Name: "iptables-legacy", OK: true, Detail: "has tables " + strings.Join(tables, ", ") + ", which cannot be looked into from here; its FORWARD judges the packets that we built",
		Fix: "look at them with iptables-legacy -S, and let the server's traffic through where they drop",
	}}
}

// tableName is a table as nft(8) names it; "" for one of a family whose packets we do
// not take.
func tableName(t *nftables.Table) string {
	family := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}[t.Family]
	if family == "" {
		return ""
	}
	return family + " " + t.Name
}

// ErrNoStreams reports a kernel that cannot give connections to others to a socket
// of this host.
var ErrNoStreams = errors.New("the kernel cannot end connections to others here")

// need is something that part of the rules needs of the kernel.
type need struct {
	name, option, module string
	try                  func(*nftables.Table) error
	without              string // what holds where it is missing
}

func (n *need) fix() string { return "modprobe " + n.module + ", or a kernel with " + n.option }

// ProbeStreams tells whether chains with a stream level can be made here. The error
// wraps ErrNoStreams. The xtables target TPROXY is no way out: it checks that its
// table is called mangle (net/netfilter/xt_TPROXY.c), and ours is not.
func (k *Kernel) ProbeStreams() error {
	for _, n := range k.streamNeeds() {
		if err := k.try(n.try); err != nil {
			return fmt.Errorf("rules: probe: %w: %s: %w (%s)", ErrNoStreams, n.name, explain(err), n.fix())
		}
	}
	return nil
}

// streamNeeds are what connections that end here need.
func (k *Kernel) streamNeeds() []need {
	const without = "only chains with a stream level need it"
	tproxy := func(t *nftables.Table) error {
		port := uint16(1)
		return k.tryRule(t, nftables.ChainHookPrerouting,
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Immediate{Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
			&expr.TProxy{Family: unix.NFPROTO_IPV4, TableFamily: unix.NFPROTO_INET, RegPort: 1})
	}
	socket := func(t *nftables.Table) error {
		return k.tryRule(t, nftables.ChainHookPrerouting, &expr.Socket{Key: expr.SocketKeyTransparent, Register: 1})
	}
	zone := func(t *nftables.Table) error {
		return k.tryRule(t, nftables.ChainHookPrerouting, new(builder).toZone().exprs...)
	}
	refuse := func(t *nftables.Table) error {
		return k.tryRule(t, nftables.ChainHookPrerouting, new(builder).reject("tcp reset", unix.NFT_REJECT_TCP_RST, 0).exprs...)
	}
	return []need{
		{"transparent proxy", "CONFIG_NFT_TPROXY", "nft_tproxy", tproxy, without},
		{"socket match", "CONFIG_NFT_SOCKET", "nft_socket", socket, without},
		{"reject", "CONFIG_NFT_REJECT_INET", "nft_reject_inet", refuse, without},
		{"conntrack zones", "CONFIG_NFT_CT and CONFIG_NF_CONNTRACK_ZONES", "nft_ct", zone, without},
	}
}

// packetNeeds are what chains of packets do without where they have to.
func (k *Kernel) packetNeeds() []need {
	return []need{
		{"own addresses", "CONFIG_NFT_FIB_INET", "nft_fib_inet", k.tryOwn, "where an instance's servers are a network, sequence numbers are carried over as they are"},
		{"fragments", "CONFIG_NFT_TPROXY", "nft_tproxy", k.tryDefragment, "the kernel puts them together only where connections are tracked"},
	}
}

// examineNeeds tells which of them are there. None is needed by all.
func (k *Kernel) examineNeeds(needs []need) (list []Finding) {
	for _, n := range needs {
		found := Finding{Name: n.name, OK: true, Detail: "present"}
		if err := k.try(n.try); err != nil {
			found.Detail, found.Fix = fmt.Sprintf("not there: %v; %s", explain(err), n.without), n.fix()
		}
		list = append(list, found)
	}
	return list
}

// tryRule adds one rule to a chain of its own; see try.
func (k *Kernel) tryRule(t *nftables.Table, hook *nftables.ChainHook, exprs ...expr.Any) error {
	chain := k.conn.AddChain(&nftables.Chain{
		Name: "probe", Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityMangle,
	})
	k.conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	return nil
}
