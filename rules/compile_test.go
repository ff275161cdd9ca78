package rules

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

var update = flag.Bool("update", false, "rewrite golden files")

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func port(p uint16) []ppf.PortRange { return []ppf.PortRange{{Lo: p, Hi: p}} }

var (
	plc     = prefixes("192.0.2.80/32")
	plc6    = prefixes("2001:db8::80/128")
	clients = prefixes("198.51.100.0/24")
	queues  = Queues{First: 20560, Count: 2}
	open    = Queues{First: 20600, Count: 1}
	native  = Features{Queue: QueueNative}
)

// both gives the selectors of both flows of an everyday instance.
func both(hook ppf.Hook, m ppf.Match) []Selector {
	return []Selector{
		{Instance: "plc", Dir: ppf.ClientToServer, Hook: hook, Criteria: m.Flow(ppf.ClientToServer)},
		{Instance: "plc", Dir: ppf.ServerToClient, Hook: hook, Criteria: m.Flow(ppf.ServerToClient)},
	}
}

var goldenPlans = []struct {
	name     string
	plan     Plan
	features Features
}{
	{"none", Plan{Closed: queues}, native},
	{"one", Plan{Closed: queues, Selectors: both(ppf.Forward, ppf.Match{Protocol: packet.ProtoTCP, Server: plc, Port: port(80)})}, native},
	{"defragment", Plan{Closed: queues, Selectors: both(ppf.Forward, ppf.Match{Protocol: packet.ProtoUDP, Server: plc})}, Features{Queue: QueueNative, Defragment: true}},
	{"one-queue", Plan{Closed: Queues{First: 7, Count: 1}, Selectors: both(ppf.Input, ppf.Match{Protocol: packet.ProtoUDP, Server: plc6, Port: port(53)})}, Features{Queue: QueueCompat}},
	{"two-families", Plan{Closed: queues, Selectors: both(ppf.Postrouting, ppf.Match{
		Protocol: packet.ProtoTCP, Server: append(prefixes("192.0.2.1/24", "203.0.113.0/25"), plc6...), Port: []ppf.PortRange{{Lo: 80, Hi: 80}, {Lo: 502, Hi: 503}},
	})}, native},
	{"opening", Plan{Closed: queues, Opening: Queues{20579, 1}, Open: open, Selectors: append(both(ppf.Forward, ppf.Match{Protocol: packet.ProtoTCP, Server: plc, Port: port(80)}),
		Selector{Hook: ppf.Input, Fail: ppf.FailOpen})}, native},
	{"opening-flood", Plan{Closed: queues, Opening: Queues{20579, 1}, Flood: 5000, Selectors: both(ppf.Forward, ppf.Match{Protocol: packet.ProtoTCP, Server: plc, Port: port(80)})},
		Features{Queue: QueueNative, Flood: true}},
	{"no-address", Plan{Closed: queues, Selectors: []Selector{
		{Hook: ppf.Output, Criteria: ppf.Criteria{Protocol: packet.ProtoICMP}},
		{Hook: ppf.Prerouting, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, DstPorts: port(80)}},
	}}, native},
	{"everything", Plan{Closed: queues, Selectors: []Selector{{Hook: ppf.Forward}}}, native},
	{"devices-and-not", Plan{Closed: queues, Selectors: both(ppf.Forward, ppf.Match{
		Protocol: packet.ProtoTCP, Server: plc, Port: port(80), In: "eth+", Out: "eth1",
		Not: []ppf.Match{{Client: clients}, {Client: prefixes("203.0.113.9/32"), Port: port(80)}, {In: "eth9"}},
	})}, native},
	{"clients", Plan{Closed: queues, Selectors: both(ppf.Forward, ppf.Match{Protocol: packet.ProtoUDP, Server: plc, Client: append(prefixes("203.0.113.0/24"), clients...)})}, native},
	{"overlap", Plan{Closed: queues, Selectors: []Selector{
		{Hook: ppf.Forward, Criteria: ppf.Criteria{Dst: prefixes("192.0.2.0/24"), Protocol: packet.ProtoTCP, DstPorts: []ppf.PortRange{{Lo: 80, Hi: 90}}}},
		{Hook: ppf.Forward, Criteria: ppf.Criteria{Dst: prefixes("192.0.2.0/25"), Protocol: packet.ProtoTCP, DstPorts: []ppf.PortRange{{Lo: 85, Hi: 95}}}},
		{Hook: ppf.Forward, Criteria: ppf.Criteria{Dst: prefixes("192.0.2.7/32"), Protocol: packet.ProtoTCP, DstPorts: []ppf.PortRange{{Lo: 81, Hi: 82}}}},
	}}, native},
	{"open", Plan{Closed: queues, Open: open, Selectors: []Selector{
		{Hook: ppf.Forward, Fail: ppf.FailOpen, Criteria: ppf.Criteria{Dst: plc}},
		{Hook: ppf.Forward, Criteria: ppf.Criteria{Dst: plc, Protocol: packet.ProtoTCP, DstPorts: port(80)}},
	}}, Features{Queue: QueueCompat}},
	{"refuse", Plan{Closed: queues,
		Selectors: both(ppf.Forward, ppf.Match{Protocol: packet.ProtoTCP, Server: plc, Port: port(80)}),
		Refuse:    both(ppf.Forward, ppf.Match{Server: plc})}, native},
	{"early", Plan{Closed: queues, Selectors: []Selector{
		{Dir: ppf.ClientToServer, Hook: ppf.Forward, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Src: clients, Dst: plc, DstPorts: port(80), In: "eth0"}},
		{Dir: ppf.ServerToClient, Hook: ppf.Prerouting, Early: true, Criteria: ppf.Criteria{
			Protocol: packet.ProtoTCP, Src: plc, Dst: clients, SrcPorts: port(80), Out: "eth0",
			Not: []ppf.Criteria{{Dst: prefixes("198.51.100.1/32")}, {Src: prefixes("192.0.2.81/32")}},
		}},
	}}, native},
	{"ends", Plan{Closed: queues, Zoned: Ports{40000, 40001}, Plain: Ports{40002, 40003}, Hold: 20577, Streams: []Stream{
		{Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Dst: append(prefixes("192.0.2.81/32"), append(plc, plc6...)...), DstPorts: port(80)}, KeepsClient: true, Honest: true},
		{Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Dst: plc, DstPorts: port(443), Not: []ppf.Criteria{{Src: clients}}}},
	}, Selectors: []Selector{{Hook: ppf.Output, Criteria: ppf.Criteria{Dst: plc}}}}, native},
	{"ends-plain", Plan{Closed: queues, Plain: Ports{40002}, Streams: []Stream{
		{Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Dst: plc, DstPorts: port(443)}},
	}}, native},
	{"numbers", Plan{Closed: queues, Selectors: append(both(ppf.Forward, ppf.Match{Protocol: packet.ProtoTCP, Server: plc, Port: port(80)}),
		Selector{Dir: ppf.ClientToServer, Hook: ppf.Prerouting, Early: true, Beside: true, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Dst: plc, DstPorts: port(80)}},
		Selector{Dir: ppf.ServerToClient, Hook: ppf.Output, Beside: true, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Src: plc, SrcPorts: port(80)}},
		Selector{Dir: ppf.ServerToClient, Hook: ppf.Output, Early: true, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Src: plc, SrcPorts: port(8080)}},
	)}, native},
	{"numbers-network", Plan{Closed: queues, Selectors: append(both(ppf.Forward, ppf.Match{Protocol: packet.ProtoTCP, Server: clients, Port: port(80)}),
		Selector{Dir: ppf.ClientToServer, Hook: ppf.Prerouting, Early: true, Beside: true, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Dst: clients, DstPorts: port(80)}},
		Selector{Dir: ppf.ServerToClient, Hook: ppf.Output, Beside: true, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Src: clients, SrcPorts: port(80)}},
	)}, Features{Queue: QueueNative, Own: true}},
	{"hidden", Plan{Closed: queues, Selectors: both(ppf.Forward, ppf.Match{Protocol: packet.ProtoTCP, Server: plc, Port: port(80)}), Hidden: []Selector{
		{Dir: ppf.ServerToClient, Hook: ppf.Output, Criteria: ppf.Criteria{Protocol: packet.ProtoTCP, Src: append(plc, plc6...), SrcPorts: port(80), In: "eth0"}},
	}}, native},
	{"block", Plan{Closed: queues, Opening: Queues{20579, 1}, Open: open, Selectors: []Selector{
		{Hook: ppf.Input, Criteria: ppf.Criteria{Dst: plc, Protocol: packet.ProtoTCP, DstPorts: port(80)}},
		{Hook: ppf.Input, Fail: ppf.FailOpen, Criteria: ppf.Criteria{Dst: plc, Protocol: packet.ProtoUDP, DstPorts: port(53)}},
	}}, Features{Block: true}},
}

func TestCompileGolden(t *testing.T) {
	for _, c := range goldenPlans {
		t.Run(c.name, func(t *testing.T) {
			rs, err := Compile(c.plan, c.features)
			if err != nil {
				t.Fatal(err)
			}
			got := rs.String()
			path := filepath.Join("testdata", c.name+".nft")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got, `go test -update` rewrites it):\n%s", path, diff)
			}
			again, err := Compile(c.plan, c.features)
			if err != nil || again.String() != got {
				t.Errorf("a second Compile: got %v, %v, want the same", again, err)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	one := []Selector{{Instance: "plc", Hook: ppf.Forward}}
	opens := []Selector{{Instance: "plc", Hook: ppf.Forward, Fail: ppf.FailOpen}}
	for _, c := range []struct {
		name     string
		plan     Plan
		features Features
		want     error
	}{
		{"no queue target", Plan{Closed: queues, Selectors: one}, Features{}, ErrNoQueueTarget},
		{"no hook", Plan{Closed: queues, Selectors: []Selector{{}}}, native, ErrPlan},
		{"no queues", Plan{Selectors: one}, native, ErrPlan},
		{"queues past the last", Plan{Closed: Queues{First: 65535, Count: 2}, Selectors: one}, native, ErrPlan},
		{"no open queues", Plan{Closed: queues, Selectors: opens}, native, ErrPlan},
		{"overlapping queues", Plan{Closed: queues, Open: Queues{First: 20561, Count: 1}, Selectors: opens}, native, ErrPlan},
		{"SYNs are judged where others are", Plan{Closed: queues, Opening: Queues{20561, 1}, Selectors: one}, native, ErrPlan},
		{"SYNs wait where packets are judged", Plan{Closed: queues, Hold: 20561, Streams: []Stream{{Criteria: ppf.Criteria{Protocol: packet.ProtoTCP}, Honest: true}}}, native, ErrPlan},
		{"a stream of UDP", Plan{Closed: queues, Streams: []Stream{{Criteria: ppf.Criteria{Protocol: packet.ProtoUDP}}}}, native, ErrPlan},
		{"long interface name", Plan{Closed: queues, Refuse: []Selector{{Hook: ppf.Input, Criteria: ppf.Criteria{In: "abcdefghijklmnop"}}}}, native, ErrPlan},
	} {
		t.Run(c.name, func(t *testing.T) {
			if rs, err := Compile(c.plan, c.features); !errors.Is(err, c.want) {
				t.Errorf("got %v, %v, want %v", rs, err, c.want)
			}
		})
	}
}
