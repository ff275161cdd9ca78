package rules

import (
	"strings"
	"testing"

	"github.com/google/nftables"
)

// TestFirewalls: chains of others at forward are shown with whose they are, and
// where they drop, with what to do.
func TestFirewalls(t *testing.T) {
	filter := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"}
	own := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	fire := &nftables.Table{Family: nftables.TableFamilyINet, Name: "firewalld"}
	drop, accept := nftables.ChainPolicyDrop, nftables.ChainPolicyAccept
	at := func(table *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority, policy *nftables.ChainPolicy) *nftables.Chain {
		return &nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: &priority, Policy: policy}
	}
	base := func(table *nftables.Table, name string, hook *nftables.ChainHook, policy *nftables.ChainPolicy) *nftables.Chain {
		return at(table, name, nftables.ChainTypeFilter, hook, 0, policy)
	}
	chain := func(table *nftables.Table, name string) *nftables.Chain {
		return &nftables.Chain{Name: name, Table: table}
	}
	nat := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"}
	bridge := &nftables.Table{Family: nftables.TableFamilyBridge, Name: "filter"}
	docker := []*nftables.Chain{
		base(filter, "FORWARD", nftables.ChainHookForward, &drop), chain(filter, "DOCKER-USER"),
		at(nat, "PREROUTING", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -100, &accept), chain(nat, "DOCKER"),
	}
	ufw := []*nftables.Chain{base(filter, "INPUT", nftables.ChainHookInput, &drop), chain(filter, "ufw-before-input")}
	for _, tt := range []struct {
		name   string
		chains []*nftables.Chain
		want   [][]string // for each finding its name and parts of its detail, and of its fix last
	}{
		{"nothing", nil, [][]string{{"other firewalls", "none judges", ""}}},
		{"ours alone", []*nftables.Chain{base(own, "forward", nftables.ChainHookForward, &accept)}, [][]string{{"other firewalls", "none judges", ""}}},
		{"a bridge's", []*nftables.Chain{base(bridge, "forward", nftables.ChainHookForward, &drop)}, [][]string{{"other firewalls", "none judges", ""}}},
		{"input that accepts", []*nftables.Chain{base(filter, "INPUT", nftables.ChainHookInput, &accept)}, [][]string{{"other firewalls", "none judges", ""}}},
		{"input that drops", []*nftables.Chain{base(filter, "INPUT", nftables.ChainHookInput, &drop)},
			[][]string{{"firewall ip filter", "INPUT (input 0, drops what it does not accept): it judges clients of servers on this machine", "nft insert rule ip filter INPUT"}}},
		{"docker", docker, [][]string{{"firewall docker", "in table ip filter, ip nat FORWARD (forward 0, drops", "we built at forward", "PREROUTING (prerouting -100)", "DNAT comes before", "-I DOCKER-USER"}}},
		{"docker that accepts", append([]*nftables.Chain{base(filter, "FORWARD", nftables.ChainHookForward, &accept)}, docker[1:]...),
			[][]string{{"firewall docker", "we built at forward", ""}}},
		{"ufw", ufw, [][]string{{"firewall ufw", "INPUT (input 0, drops", "chains that end connections", "ufw route allow to SERVER"}}},
		{"docker and ufw in one table", append(append([]*nftables.Chain{}, docker...), ufw...), [][]string{
			{"firewall docker", "we built at forward", "DOCKER-USER"}, {"firewall ufw", "INPUT (input 0", "ufw route allow"}}},
		{"firewalld", []*nftables.Chain{
			at(fire, "nat_PREROUTING", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -90, &accept),
			at(fire, "filter_FORWARD", nftables.ChainTypeFilter, nftables.ChainHookForward, 10, &accept), chain(fire, "filter_FWD_public"),
		}, [][]string{{"firewall firewalld", "in table inet firewalld", "filter_FORWARD (forward 10)", "the same priority as our prerouting", "--add-rich-rule"}}},
		{"before us", []*nftables.Chain{at(filter, "early", nftables.ChainTypeFilter, nftables.ChainHookForward, -20, &accept)},
			[][]string{{"firewall ip filter", "what arrives before us", ""}}},
		{"unknown", []*nftables.Chain{base(filter, "FORWARD", nftables.ChainHookForward, &drop)},
			[][]string{{"firewall ip filter", "what it does not accept", "nft insert rule ip filter FORWARD"}}},
	} {
		list := firewalls(tt.chains)
		if len(list) != len(tt.want) {
			t.Errorf("%s: %+v", tt.name, list)
			continue
		}
		for i, f := range list {
			want := tt.want[i]
			fix := want[len(want)-1]
			if f.Name != want[0] || !strings.Contains(f.Fix, fix) || (f.Fix == "") != (fix == "") || !f.OK {
				t.Errorf("%s: %+v, want %q", tt.name, f, want)
			}
			for _, part := range want[1 : len(want)-1] {
				if !strings.Contains(f.Detail, part) {
					t.Errorf("%s: %q lacks %q", tt.name, f.Detail, part)
				}
			}
		}
	}
}
