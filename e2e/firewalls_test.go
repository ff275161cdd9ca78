package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/promethos/promethos/lab"
)

// Rules as these programs make them, as far as packets of others come by.
const (
	dockerRules = `table ip nat {
	chain DOCKER { }
	chain PREROUTING { type nat hook prerouting priority -100; policy accept; fib daddr type local jump DOCKER; }
}
table ip filter {
	chain DOCKER { }
	chain DOCKER-USER { return; }
	chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; oifname "docker0" jump DOCKER; }
}`
	ufwRules = `table ip6 filter {
	chain ufw6-before-forward { ct state related,established accept; }
	chain ufw6-user-forward { }
	chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw6-before-forward; jump ufw6-user-forward; }
}`
	firewalldRules = `table inet firewalld {
	chain filter_FORWARD { type filter hook forward priority 10; policy accept; ct state { established, related } accept; jump filter_FORWARD_POLICIES; reject with icmpx admin-prohibited; }
	chain filter_FORWARD_POLICIES { }
	chain nat_PREROUTING { type nat hook prerouting priority -90; policy accept; }
}`
)

// TestDoctorFirewalls: doctor tells whose firewalls are there and what they mean, and
// what it advises opens the way for a protected server.
func TestDoctorFirewalls(t *testing.T) {
	for _, tool := range []string{"nft", "iptables", "curl"} {
		need(t, tool)
	}
	l := up(t, lab.Options{})
	s := web(t, l.Server)
	nft := func(args ...string) {
		t.Helper()
		if r := execute(t, l.Proxy, "nft", args...); r.status != 0 {
			t.Fatal(r)
		}
	}
	d := start(t, l, protect("forward", port(t, s.Addr), "", l.Server))
	for _, tt := range []struct {
		name, rules, network string
		says                 []string
		fix                  [][]string // what the advice comes to
	}{
		{"docker", dockerRules, "tcp4", []string{"firewall docker", "in table ip nat, ip filter", "FORWARD (forward 0, drops what it does not accept)", "its DNAT comes before", "iptables -I DOCKER-USER -d SERVER -j ACCEPT"},
			[][]string{{"iptables", "-I", "DOCKER-USER", "-d", "SERVER", "-j", "ACCEPT"}, {"iptables", "-I", "DOCKER-USER", "-s", "SERVER", "-j", "ACCEPT"}}},
		{"ufw", ufwRules, "tcp6", []string{"firewall ufw", "in table ip6 filter", "ufw route allow to SERVER"},
			[][]string{{"nft", "add rule ip6 filter ufw6-user-forward ip6 daddr SERVER accept"}}},
		{"firewalld", firewalldRules, "tcp4", []string{"firewall firewalld", "filter_FORWARD (forward 10)", "nat_PREROUTING (prerouting -90)", "same priority as our prerouting", "firewall-cmd --permanent --new-policy"},
			[][]string{{"nft", "add rule inet firewalld filter_FORWARD_POLICIES ip daddr SERVER accept"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := l.Server.Addr(tt.network).String()
			addr := hostPort(l.Server, tt.network, port(t, s.Addr))
			if !reaches(t, l.Client, addr) {
				t.Fatal("the server cannot be reached without a firewall")
			}
			nft(tt.rules)
			t.Cleanup(func() { nft(emptied(tt.rules)) })
			if !unreached(t, l.Client, addr) {
				t.Error("the firewall lets everything through: this test proves nothing")
			}
			said := d.try(t, "doctor").out
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("doctor does not say %q:\n%s", want, said)
				}
			}
			for _, command := range tt.fix {
				args := strings.Split(strings.ReplaceAll(strings.Join(command, "\n"), "SERVER", server), "\n")
				if r := execute(t, l.Proxy, args[0], args[1:]...); r.status != 0 {
					t.Fatal(r)
				}
			}
			if !reaches(t, l.Client, addr) {
				t.Errorf("after what doctor advises the server cannot be reached: %s", d.try(t, "stats").out)
			}
		})
	}
	d.accounted(t)
}

// emptied is how the tables of some rules go.
func emptied(rules string) string {
	var b strings.Builder
	for line := range strings.Lines(rules) {
		if table, ok := strings.CutSuffix(strings.TrimSpace(line), " {"); ok && strings.HasPrefix(table, "table ") {
			fmt.Fprintf(&b, "delete %s\n", table)
		}
	}
	return b.String()
}
