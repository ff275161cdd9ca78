package protect

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/promethos/promethos/config"
	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/ppf"
)

// router is a machine with a server behind eth1 and everybody else before eth0.
func router(edit func(*Facts)) Facts {
	f := Facts{Out: "eth1", OnLink: true, Default: "eth0", Interfaces: []string{"eth0", "eth1"}, Forwards: true, Functions: []string{"tcp"}}
	if edit != nil {
		edit(&f)
	}
	return f
}

var server = netip.MustParseAddr("192.0.2.9")

// compose gives a plan and what the program reads out of it.
func compose(t *testing.T, w Wish, f Facts) (*Plan, *ppf.Spec) {
	t.Helper()
	if !w.Server.IsValid() {
		w.Server = server
	}
	p, err := Compose(w, f)
	if err != nil {
		t.Fatal(err)
	}
	spec, problems := config.Parse("protect", []byte(p.YAML))
	for _, problem := range problems {
		if !problem.Warning {
			t.Errorf("%v\n%s", problem, p.YAML)
		}
	}
	return p, spec
}

func TestEverything(t *testing.T) {
	p, spec := compose(t, Wish{}, router(nil))
	if len(spec.Instances) != 1 {
		t.Fatalf("%s", p.YAML)
	}
	in := spec.Instances[0]
	if in.Name != "192.0.2.9-tcp" || in.Hook != ppf.Forward || in.Initiate != ppf.InitiateBoth || in.Others != ppf.OthersRefuse || in.Mode != ppf.Repair ||
		len(in.Match.Port) != 0 || in.Chain[0][0] != "tcp" || spec.OnExit != ppf.ExitRemove {
		t.Errorf("%+v", in)
	}
	if !strings.Contains(p.Advice, "--monitor first") {
		t.Errorf("advice %q", p.Advice)
	}
}

// TestPorts: clients may use some ports, the server may open what it likes.
func TestPorts(t *testing.T) {
	p, spec := compose(t, Wish{TCP: []string{"80", "502-503"}, Block: true}, router(nil))
	if len(spec.Instances) != 2 || spec.OnExit != ppf.ExitBlock {
		t.Fatalf("%s", p.YAML)
	}
	in, opens := spec.Instances[0], spec.Instances[1]
	if len(in.Match.Port) != 2 || in.Match.Port[1] != (ppf.PortRange{Lo: 502, Hi: 503}) || in.Initiate != ppf.InitiateClient || in.Others != ppf.OthersRefuse {
		t.Errorf("%+v", in)
	}
	if opens.Match.Client[0].Addr() != server || opens.Match.Server[0].Bits() != 0 || opens.Initiate != ppf.InitiateClient || opens.Others != ppf.OthersPass {
		t.Errorf("%+v", opens)
	}
}

// TestFunctions: what is there is used, in either family.
func TestFunctions(t *testing.T) {
	all := router(func(f *Facts) { f.Functions = []string{"tcp", "icmp", "ip"} })
	p, err := Compose(Wish{Server: netip.MustParseAddr("2001:db8::9"), TCP: []string{"80"}}, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`server: "2001:db8::9"`, `server: "::/0"`, "name: 2001-db8--9-tcp", "protocol: icmp", "chain: [ip, icmp]", "chain: [ip, tcp]"} {
		if !strings.Contains(p.YAML, want) {
			t.Errorf("%s\nlacks %q", p.YAML, want)
		}
	}
	for _, w := range p.Warnings {
		if strings.Contains(w, "ping") {
			t.Errorf("warned in vain: %s", w)
		}
	}
}

// TestLocalNeighbors: nothing comes between a local server and its neighbor
// discovery.
func TestLocalNeighbors(t *testing.T) {
	for address, want := range map[string]bool{"192.0.2.9": true, "2001:db8::9": false} {
		local := router(func(f *Facts) { f.Functions, f.Local = []string{"tcp", "icmp"}, true })
		p, err := Compose(Wish{Server: netip.MustParseAddr(address)}, local)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(p.YAML, "chain: [icmp]") != want {
			t.Errorf("%s: icmp %v, want %v", p.YAML, !want, want)
		}
	}
}

func TestMonitor(t *testing.T) {
	p, spec := compose(t, Wish{TCP: []string{"80"}, Monitor: true}, router(nil))
	for _, in := range spec.Instances {
		if in.Mode != ppf.Monitor || in.Others != ppf.OthersPass {
			t.Errorf("%s is not in monitor, or refuses something: %+v", in.Name, in)
		}
	}
	if p.Advice != "" || !strings.Contains(strings.Join(p.Warnings, "\n"), "NOT PROTECTING") {
		t.Errorf("%+v", p)
	}
}

// TestSessions: the operator's own connection comes first and is in monitor.
func TestSessions(t *testing.T) {
	local, ok := SSHSession("198.51.100.7 50000 192.0.2.9 22")
	if !ok {
		t.Fatal("no session")
	}
	_, spec := compose(t, Wish{TCP: []string{"80"}}, router(func(f *Facts) { f.Local, f.Sessions = true, []Session{local} }))
	first := spec.Instances[0]
	if first.Name != "session-1" || first.Mode != ppf.Monitor || first.Hook != ppf.Input || first.Match.Client[0].Addr() != local.Client.Addr() ||
		first.Match.Port[0].Lo != 22 || spec.Instances[1].Others != ppf.OthersPass || spec.Instances[2].Hook != ppf.Output {
		t.Errorf("%+v", spec.Instances)
	}
	// Typed on the server itself, over a session that comes through this machine.
	through, ok := SSHSession("192.0.2.9 50000 203.0.113.1 22")
	if !ok {
		t.Fatal("no session")
	}
	_, spec = compose(t, Wish{TCP: []string{"80"}}, router(func(f *Facts) { f.Sessions = []Session{through} }))
	if first := spec.Instances[0]; first.Name != "session-1" || first.Mode != ppf.Monitor || len(first.Match.Client) != 0 || first.Match.Port[0].Lo != 22 {
		t.Errorf("%+v", first)
	}
	// One that ends at another address has nothing to do with it.
	if _, spec = compose(t, Wish{}, router(func(f *Facts) { f.Sessions = []Session{local} })); len(spec.Instances) != 1 {
		t.Errorf("%+v", spec.Instances)
	}
	for _, wrong := range []string{"", "a b c d", "192.0.2.1 1 192.0.2.2", "192.0.2.1 1 192.0.2.2 x"} {
		if s, ok := SSHSession(wrong); ok {
			t.Errorf("SSHSession(%q) = %v", wrong, s)
		}
	}
	if s, ok := SSHSession("fe80::1%eth0 1 2001:db8::1 22"); !ok || s.Server.Addr() != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("IPv6: %v, %v", s, ok)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Facts)
		want string
	}{
		{"no forwarding", func(f *Facts) { f.Forwards = false }, "sysctl -w net.ipv4.ip_forward=1"},
		{"same segment", func(f *Facts) { f.Default = "eth1" }, "without passing this machine: put the server behind"},
		{"one interface", func(f *Facts) { f.Interfaces = []string{"eth1"} }, "without passing this machine: put the server behind"},
		{"neighbours of the server", nil, "other hosts on the segment of eth1"},
		{"another router", func(f *Facts) { f.OnLink = false }, "behind another router"},
		{"several ways", func(f *Facts) { f.Multipath = true }, "connections are refused as incomplete"},
		{"other family", nil, "IPv6 addresses of the server are not covered"},
		{"no function for UDP", nil, "UDP to and from the server is refused"},
	} {
		p, _ := compose(t, Wish{}, router(tt.edit))
		if all := strings.Join(p.Warnings, "\n"); !strings.Contains(all, tt.want) {
			t.Errorf("%s: %q is not said:\n%s", tt.name, tt.want, all)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		wish Wish
		edit func(*Facts)
		want error
	}{
		{"bridge of three", Wish{Server: server}, func(f *Facts) { f.Bridge, f.Ports = true, []string{"eth0", "eth1", "eth2"} }, ErrPorts},
		{"session on the wire", Wish{Server: server}, func(f *Facts) { f.Wire, f.Cut = &Wire{"eth0", "eth1"}, []Session{{}} }, ErrSession},
		{"no udp", Wish{Server: server, UDP: []string{"53"}}, nil, ErrNoFunction},
		{"no tcp", Wish{Server: server}, func(f *Facts) { f.Functions = nil }, ErrNoFunction},
	} {
		if _, err := Compose(tt.wish, router(tt.edit)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, a := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("fe80::1%eth0")} {
		if _, err := Compose(Wish{Server: a}, router(nil)); err == nil || !strings.Contains(err.Error(), "not the address of one server") {
			t.Errorf("%v: %v", a, err)
		}
	}
}

// TestWays: what is known of the way of answers is told where it leads past the
// server's interface, and an answer by it, or no answer at all, tells nothing.
func TestWays(t *testing.T) {
	near, far := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	for _, tt := range []struct {
		name string
		ways []Way
		want string // part of a warning; "" for none
	}{
		{"nobody asked", nil, ""},
		{"one way", []Way{{near, "eth1", "eth1"}, {far, "eth0", "eth1"}}, ""},
		{"no answer", []Way{{near, "eth1", ""}, {far, "eth0", ""}}, ""},
		{"another way", []Way{{near, "eth1", "eth1"}, {far, "eth0", "eth0"}}, "an answer of the server to 198.51.100.1 comes in by eth0 and not by eth1"},
		{"another way, and no address near the server", []Way{{far, "eth0", "eth2"}}, "make this machine the way to the clients"},
		{"elsewhere", []Way{{near, "eth1", "eth1"}, {far, "eth0", ""}}, "the server answers 192.0.2.1 and not 198.51.100.1"},
	} {
		p, _ := compose(t, Wish{}, router(func(f *Facts) { f.Ways = tt.ways }))
		said := strings.Join(p.Warnings, "\n")
		if told := strings.Contains(said, "asymmetric"); told != (tt.want != "") || !strings.Contains(said, tt.want) {
			t.Errorf("%s: %q lacks %q, or says too much", tt.name, said, tt.want)
		}
	}
}
