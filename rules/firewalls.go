package rules

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// owners tells whose chains these are, by how their names begin.
var owners = []struct{ prefix, owner, fix string }{
	{"DOCKER", "docker", "let the server's traffic through with `iptables -I DOCKER-USER -d SERVER -j ACCEPT` and the same with -s"},
	{"ufw", "ufw", "let the server's traffic through with `ufw route allow to SERVER` and `ufw route allow from SERVER`"},
	{"filter_FORWARD", "firewalld", "let the server's traffic through with a policy: `firewall-cmd --permanent --new-policy`"},
	{"filter_FWD", "firewalld", "let the server's traffic through with a policy: `firewall-cmd --permanent --new-policy`"},
}

// Firewalls tells of the rules of others that judge what this host forwards: a
// packet that we send may still end there. Nothing of them is ever changed.
func (k *Kernel) Firewalls() []Finding {
	chains, err := k.conn.ListChains()
	if err != nil {
		return []Finding{missing("other firewalls", fmt.Errorf("list chains: %w", explain(err)))}
	}
	return firewalls(chains)
}

func firewalls(chains []*nftables.Chain) []Finding {
	known := map[string]int{} // table to index of owners
	for _, c := range chains {
		for i, o := range owners {
			if strings.HasPrefix(c.Name, o.prefix) {
				known[tableName(c.Table)] = i
			}
		}
	}
	var list []Finding
	for _, c := range chains {
		if c.Table.Name == TableName || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Type != nftables.ChainTypeFilter {
			continue
		}
		name := tableName(c.Table)
		f := Finding{Name: "firewall " + name, OK: true, Detail: "chain " + c.Name + " judges what is forwarded, after us where its priority is above -10"}
		i, ours := known[name]
		if ours {
			f.Detail = owners[i].owner + ": " + f.Detail
		}
		if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			f.Detail += "; what it does not accept is dropped"
			f.Fix = fmt.Sprintf("let the server's traffic through there: nft insert rule %s %s ip daddr SERVER accept, and the same with saddr", name, c.Name)
			if ours {
				f.Fix = owners[i].fix
			}
		}
		list = append(list, f)
	}
	if len(list) == 0 {
		list = append(list, Finding{Name: "other firewalls", OK: true, Detail: "none judges what is forwarded"})
	}
	return list
}

func tableName(t *nftables.Table) string {
	family := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}[t.Family]
	return strings.TrimSpace(family + " " + t.Name)
}

// ErrNoStreams reports a kernel that cannot give connections to others to a socket
// of this host.
var ErrNoStreams = errors.New("the kernel cannot end connections to others here")

// streamNeed is something that connections which end here need of the kernel.
type streamNeed struct {
	name, option, module string
	try                  func(*nftables.Table) error
}

func (n *streamNeed) fix() string { return "modprobe " + n.module + ", or a kernel with " + n.option }

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

func (k *Kernel) streamNeeds() []streamNeed {
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
	return []streamNeed{
		{"transparent proxy", "CONFIG_NFT_TPROXY", "nft_tproxy", tproxy},
		{"socket match", "CONFIG_NFT_SOCKET", "nft_socket", socket},
		{"reject", "CONFIG_NFT_REJECT_INET", "nft_reject_inet", refuse},
		{"conntrack zones", "CONFIG_NFT_CT and CONFIG_NF_CONNTRACK_ZONES", "nft_ct", zone},
	}
}

// examineStream tells whether chains with a stream level can be made here.
func (k *Kernel) examineStream() []Finding {
	var list []Finding
	for _, n := range k.streamNeeds() {
		found := Finding{Name: n.name, OK: true, Detail: "present"}
		if err := k.try(n.try); err != nil {
			found.Detail = fmt.Sprintf("not there: %v; only chains with a stream level need it", explain(err))
			found.Fix = n.fix()
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
