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
	base := func(table *nftables.Table, name string, hook *nftables.ChainHook, policy *nftables.ChainPolicy) *nftables.Chain {
		return &nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Policy: policy}
	}
	chain := func(table *nftables.Table, name string) *nftables.Chain {
		return &nftables.Chain{Name: name, Table: table}
	}
	for _, tt := range []struct {
		name   string
		chains []*nftables.Chain
		want   []string // name, part of the detail, part of the fix
	}{
		{"nothing", nil, []string{"other firewalls", "none judges", ""}},
		{"ours alone", []*nftables.Chain{base(own, "forward", nftables.ChainHookForward, &accept)}, []string{"other firewalls", "none judges", ""}},
		{"input only", []*nftables.Chain{base(filter, "INPUT", nftables.ChainHookInput, &drop)}, []string{"other firewalls", "none judges", ""}},
		{"docker", []*nftables.Chain{base(filter, "FORWARD", nftables.ChainHookForward, &drop), chain(filter, "DOCKER-USER")},
			[]string{"firewall ip filter", "docker: chain FORWARD", "DOCKER-USER"}},
		{"ufw", []*nftables.Chain{base(filter, "FORWARD", nftables.ChainHookForward, &drop), chain(filter, "ufw-before-forward")},
			[]string{"firewall ip filter", "ufw: ", "ufw route allow"}},
		{"firewalld", []*nftables.Chain{base(fire, "filter_FORWARD", nftables.ChainHookForward, &accept)},
			[]string{"firewall inet firewalld", "firewalld: ", ""}},
		{"unknown", []*nftables.Chain{base(filter, "FORWARD", nftables.ChainHookForward, &drop)},
			[]string{"firewall ip filter", "what it does not accept is dropped", "nft insert rule ip filter FORWARD"}},
	} {
		list := firewalls(tt.chains)
		if len(list) != 1 {
			t.Errorf("%s: %+v", tt.name, list)
			continue
		}
		f := list[0]
		if f.Name != tt.want[0] || !strings.Contains(f.Detail, tt.want[1]) || !strings.Contains(f.Fix, tt.want[2]) || (f.Fix == "") != (tt.want[2] == "") || !f.OK {
			t.Errorf("%s: %+v, want %q", tt.name, f, tt.want)
		}
	}
}
