package protect

import (
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// bridge is a machine that joins eth0, towards the clients, and eth1.
func bridge(edit func(*Facts)) Facts {
	f := Facts{
		Out: "br0", OnLink: true, Bridge: true, Ports: []string{"eth0", "eth1"}, Wire: &Wire{"eth0", "eth1"},
		Functions: []string{"ethernet", "arp", "igmp", "mld", "ip", "nd", "icmp", "udp", "dhcp", "tcp"},
	}
	if edit != nil {
		edit(&f)
	}
	return f
}

// named finds an instance.
func named(t *testing.T, spec *ppf.Spec, name string) *ppf.InstanceSpec {
	t.Helper()
	i := slices.IndexFunc(spec.Instances, func(in ppf.InstanceSpec) bool { return in.Name == name })
	if i < 0 {
		t.Fatalf("no instance %s", name)
	}
	return &spec.Instances[i]
}

// TestWire: a wire gets instances for the server, for how hosts find each other,
// and for the rest, which does not take what is the server's.
func TestWire(t *testing.T) {
	p, spec := compose(t, Wish{TCP: []string{"502"}, EtherTypes: []string{"profinet"}}, bridge(nil))
	for _, in := range spec.Instances {
		if in.Source != ppf.SourceInline || in.Inline != (ppf.InlinePair{Client: "eth0", Server: "eth1"}) || in.Mode != ppf.Repair {
			t.Errorf("%+v", in)
		}
	}
	if in := named(t, spec, "192.0.2.9-tcp"); in.Initiate != ppf.InitiateClient || in.Match.Port[0].Lo != 502 {
		t.Errorf("%+v", in)
	}
	for _, name := range []string{"192.0.2.9-opens-tcp", "192.0.2.9-opens-udp"} {
		if in := named(t, spec, name); in.Initiate != ppf.InitiateServer || in.Match.Server[0].Addr() != server {
			t.Errorf("%+v", in)
		}
	}
	if in := named(t, spec, "wire-arp"); !in.Match.ARP || len(in.Match.Server) > 0 {
		t.Errorf("%+v", in)
	}
	if in := named(t, spec, "wire-icmp"); !slices.Equal(in.Chain[0], []string{"mld", "ip", "nd", "icmp"}) {
		t.Errorf("%+v", in)
	}
	if in := named(t, spec, "wire-igmp"); in.Match.Protocol != packet.ProtoIGMP {
		t.Errorf("%+v", in)
	}
	if spec.Instances[0].Name != "wire-dhcp" { // its answers go to the server's address
		t.Errorf("%s comes first", spec.Instances[0].Name)
	}
	if in := named(t, spec, "wire-dhcp"); !slices.Equal(in.Chain[1], []string{"ip", "udp", "dhcp"}) || !strings.Contains(p.YAML, "dhcp: {servers: client}") {
		t.Errorf("%+v", in)
	}
	rest := &spec.Instances[len(spec.Instances)-1]
	if rest.Name != "wire-rest" || len(rest.Match.Not) != 1 || rest.Match.Not[0].Server[0].Addr() != server || !strings.Contains(p.YAML, "ethertypes: [profinet]") {
		t.Errorf("%+v\n%s", rest, p.YAML)
	}
	all := strings.Join(p.Warnings, "\n")
	for _, want := range []string{"IPv6 included", "nobody hears this machine itself at br0", "on the side of eth1", "DHCP servers are expected on the side of eth0"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not said:\n%s", want, all)
		}
	}
}

// TestWireEverything: without ports both sides may open, and there is one instance
// for each protocol.
func TestWireEverything(t *testing.T) {
	_, spec := compose(t, Wish{}, bridge(nil))
	if in := named(t, spec, "192.0.2.9-udp"); in.Initiate != ppf.InitiateBoth || len(spec.Instances) != 7 {
		t.Errorf("%+v", spec.Instances)
	}
}

// TestWireMonitor: nothing is refused for want of an instance.
func TestWireMonitor(t *testing.T) {
	_, spec := compose(t, Wish{TCP: []string{"502"}, Monitor: true}, bridge(nil))
	for _, in := range spec.Instances {
		if in.Mode != ppf.Monitor || len(in.Match.Not) > 0 {
			t.Errorf("%+v", in)
		}
	}
}

// TestWireLocal: a bridge that has the server's address itself is no wire.
func TestWireLocal(t *testing.T) {
	_, spec := compose(t, Wish{}, bridge(func(f *Facts) { f.Local = true }))
	if in := spec.Instances[0]; in.Source != ppf.SourceNFQueue || in.Hook != ppf.Input {
		t.Errorf("%+v", in)
	}
}
