package ppf

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/promethos/promethos/packet"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestCriteriaMatch(t *testing.T) {
	web := Tuple{
		Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("203.0.113.1"), Protocol: packet.ProtoTCP, HasProtocol: true,
		SrcPort: 40000, DstPort: 80, HasPorts: true, In: "eth0", Out: "eth1",
	}
	with := func(edit func(*Tuple)) Tuple {
		u := web
		edit(&u)
		return u
	}
	fragment := with(func(u *Tuple) { u.HasPorts, u.SrcPort, u.DstPort = false, 0, 0 })
	hidden := with(func(u *Tuple) { u.HasPorts, u.HasProtocol, u.Protocol = false, false, 0 })
	v6 := with(func(u *Tuple) { u.Src, u.Dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2") })
	ping6 := with(func(u *Tuple) { u.Protocol, u.HasPorts = packet.ProtoICMPv6, false })
	port80 := []PortRange{{80, 80}}
	tests := []struct {
		name string
		c    Criteria
		t    Tuple
		want bool
	}{
		{"nothing restricts", Criteria{}, web, true},
		{"IPv4", Criteria{Family: FamilyIPv4}, web, true},
		{"IPv4, IPv6 comes", Criteria{Family: FamilyIPv4}, v6, false},
		{"IPv6", Criteria{Family: FamilyIPv6}, v6, true},
		{"IPv6, IPv4 comes", Criteria{Family: FamilyIPv6}, web, false},
		{"protocol", Criteria{Protocol: packet.ProtoTCP}, web, true},
		{"another protocol", Criteria{Protocol: packet.ProtoUDP}, web, false},
		{"ICMP covers ICMPv6", Criteria{Protocol: packet.ProtoICMP}, ping6, true},
		{"hidden protocol", Criteria{Protocol: packet.ProtoUDP}, hidden, true},
		{"source", Criteria{Src: prefixes("198.51.100.0/24", "192.0.2.0/24")}, web, true},
		{"another source", Criteria{Src: prefixes("198.51.100.0/24")}, web, false},
		{"destination", Criteria{Dst: prefixes("203.0.113.1/32")}, web, true},
		{"another destination", Criteria{Dst: prefixes("203.0.113.2/32")}, web, false},
		{"port", Criteria{DstPorts: port80}, web, true},
		{"ports", Criteria{DstPorts: []PortRange{{1, 79}, {81, 90}}}, web, false},
		{"ends of a range", Criteria{SrcPorts: []PortRange{{40000, 40001}}, DstPorts: []PortRange{{79, 80}}}, web, true},
		{"hidden ports", Criteria{DstPorts: port80}, fragment, true},
		{"hidden ports of another server", Criteria{Dst: prefixes("203.0.113.2/32"), DstPorts: port80}, fragment, false},
		{"device", Criteria{In: "eth0", Out: "eth1"}, web, true},
		{"another device", Criteria{In: "eth1"}, web, false},
		{"devices with an ending", Criteria{In: "eth+"}, web, true},
		{"other devices with an ending", Criteria{Out: "wlan+"}, web, false},
		{"excluded", Criteria{Not: []Criteria{{Src: prefixes("192.0.2.1/32")}}}, web, false},
		{"another is excluded", Criteria{Not: []Criteria{{Src: prefixes("192.0.2.2/32")}}}, web, true},
		{"all of an exclusion must match", Criteria{Not: []Criteria{{Src: prefixes("192.0.2.1/32"), DstPorts: []PortRange{{81, 81}}}}}, web, true},
		{"hidden ports are not excluded", Criteria{Not: []Criteria{{DstPorts: port80}}}, fragment, true},
		{"a hidden protocol is not excluded", Criteria{Not: []Criteria{{Protocol: packet.ProtoTCP}}}, hidden, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.c.Match(&tt.t); got != tt.want {
				t.Errorf("%v matches: %v, want %v", tt.c, got, tt.want)
			}
			r := tt.t
			r.Src, r.Dst, r.SrcPort, r.DstPort, r.In, r.Out = r.Dst, r.Src, r.DstPort, r.SrcPort, r.Out, r.In
			reverse := tt.c.Reverse()
			if got := reverse.Match(&r); got != tt.want {
				t.Errorf("reversed, %v matches: %v, want %v", reverse, got, tt.want)
			}
			if again := reverse.Reverse(); again.String() != tt.c.String() {
				t.Errorf("reversed twice: %v, was %v", again, tt.c)
			}
		})
	}
}

func TestMatchFlow(t *testing.T) {
	m := Match{
		Protocol: packet.ProtoTCP, Server: prefixes("203.0.113.0/24"), Client: prefixes("192.0.2.0/24"), Port: []PortRange{{80, 81}}, In: "eth0", Out: "eth1",
		Not: []Match{{Client: prefixes("192.0.2.9/32")}},
	}
	cs, sc := m.Flow(ClientToServer), m.Flow(ServerToClient)
	if want := "tcp 192.0.2.0/24 > 203.0.113.0/24:80-81 in eth0 out eth1 not (any 192.0.2.9 > any)"; cs.String() != want {
		t.Errorf("cs %q, want %q", cs, want)
	}
	if want := "tcp 203.0.113.0/24:80-81 > 192.0.2.0/24 in eth1 out eth0 not (any any > 192.0.2.9)"; sc.String() != want {
		t.Errorf("sc %q, want %q", sc, want)
	}
	if back := sc.Reverse(); !reflect.DeepEqual(back, cs) {
		t.Errorf("sc reversed is %+v, want %+v", back, cs)
	}
}

func TestNames(t *testing.T) {
	for h := Prerouting; int(h) < NumHooks; h++ {
		if got, ok := ParseHook(h.String()); !ok || got != h {
			t.Errorf("hook %v is read as %v, %v", h, got, ok)
		}
	}
	for _, s := range []string{"", "none", "FORWARD", "ingress"} {
		if h, ok := ParseHook(s); ok {
			t.Errorf("%q is read as %v", s, h)
		}
	}
	for want, got := range map[string]string{
		"cs": ClientToServer.String(), "sc": ServerToClient.String(), "drop": Drop.String(), "repeat": Repeat.String(), "action(9)": Action(9).String(),
		"hook(9)": Hook(9).String(), "strict": Strict.String(), "message": LevelMessage.String(), "would-repair": OutcomeWouldRepair.String(),
		"runtime": OriginRuntime.String(), "f:1:2": Pos{"f", 1, 2}.String(), "f": Pos{File: "f"}.String(),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestFlowHooks: where packets of this host's own connections are taken, the
// other flow is too.
func TestFlowHooks(t *testing.T) {
	for h, want := range map[Hook][2][]Hook{
		Prerouting:  {{Prerouting, Output}, {Prerouting, Output}},
		Input:       {{Input}, {Output}},
		Forward:     {{Forward}, {Forward}},
		Output:      {{Output}, {Input}},
		Postrouting: {{Postrouting, Input}, {Postrouting, Input}},
	} {
		if got := flowHooks(h); !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %v, want %v", h, got, want)
		}
	}
}
