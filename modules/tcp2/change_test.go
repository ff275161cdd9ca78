package tcp2_test

import (
	"testing"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestChange: where an instance exchanges addresses no more, the connections
// whose address is exchanged end with their ports, and the instance goes on.
func TestChange(t *testing.T) {
	t.Run("reload", func(t *testing.T) {
		b := ppftest.New(t, instance("tcp2"))
		send(t, b, ppftest.Client4, ppftest.Server4, syn, "")
		b.Apply(instance("tcp"))
		if n := b.Engine.Stats().Connections; n != 0 || len(b.Env.Ports) != 0 {
			t.Errorf("%d connections and %d ports are left of tcp2", n, len(b.Env.Ports))
		}
		if out := send(t, b, ppftest.Client4, ppftest.Server4, syn, ""); out.src != ppftest.Client4 {
			t.Errorf("after the change the server sees %+v", out)
		}
		b.Apply(instance("tcp2"))
		// The open connection keeps the address that the server knows.
		if out := send(t, b, ppftest.Client4, ppftest.Server4, syn, ""); out.src != ppftest.Client4 {
			t.Errorf("an open connection changed its address: %+v", out)
		}
		b.Apply()
		if len(b.Env.Ports) != 0 {
			t.Errorf("ports %v are left", b.Env.Ports)
		}
	})
	t.Run("reconfig", func(t *testing.T) {
		b := ppftest.New(t)
		criteria := ppftest.Instance("", "").Match
		n, err := b.Engine.InsertRule(ppf.RuleSpec{Chain: ppf.Forward, Criteria: criteria.Flow(ppf.ClientToServer), Plugin: "PROXY", Config: "cs 3 tcp2."}, 0)
		if err != nil {
			t.Fatal(err)
		}
		send(t, b, ppftest.Client4, ppftest.Server4, syn, "")
		if len(b.Env.Ports) != 1 {
			t.Fatalf("%d ports are reserved, want 1", len(b.Env.Ports))
		}
		if err := b.Engine.Reconfig(n, "cs 3 tcp."); err != nil {
			t.Fatal(err)
		}
		if c := b.Engine.Stats().Connections; c != 0 || len(b.Env.Ports) != 0 {
			t.Errorf("%d connections and %d ports are left of tcp2", c, len(b.Env.Ports))
		}
	})
	t.Run("module reload", func(t *testing.T) {
		b := ppftest.New(t, instance("tcp2"))
		proxy := send(t, b, ppftest.Client4, ppftest.Server4, syn, "").src
		if err := b.Engine.ReloadModule(t.Context(), "tcp2"); err != nil {
			t.Fatal(err)
		}
		if out := send(t, b, ppftest.Server4, proxy, syn|ack, ""); out.dst != ppftest.Client4 {
			t.Errorf("after the reload the client sees %+v", out)
		}
		b.Apply()
		if len(b.Env.Ports) != 0 {
			t.Errorf("ports %v are left", b.Env.Ports)
		}
	})
}

// TestEarly: a rule whose function exchanges addresses is taken before
// conntrack, also when it is reconfigured to do so.
func TestEarly(t *testing.T) {
	b := ppftest.New(t)
	criteria := ppftest.Instance("", "").Match
	insert := func(d ppf.Dir, hook ppf.Hook, config string) ppf.InstanceNumber {
		t.Helper()
		n, err := b.Engine.InsertRule(ppf.RuleSpec{Chain: hook, Criteria: criteria.Flow(d), Plugin: "PROXY", Config: config}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	cs := insert(ppf.ClientToServer, ppf.Forward, "cs 3 tcp2.")
	sc := insert(ppf.ServerToClient, ppf.Prerouting, "sc "+cs.String()+" tcp.")
	early := func(want bool) {
		t.Helper()
		if r := b.Engine.Rules(ppf.Prerouting)[0]; r.Early != want {
			t.Errorf("%q: early %v, want %v", r.Config, r.Early, want)
		}
	}
	early(false)
	if err := b.Engine.Reconfig(sc, "sc "+cs.String()+" tcp2."); err != nil {
		t.Fatal(err)
	}
	early(true)
	if err := b.Engine.Reconfig(sc, "sc "+cs.String()+" tcp."); err != nil {
		t.Fatal(err)
	}
	early(false)
}

// TestMonitor: an exchanged packet cannot be sent unchanged.
func TestMonitor(t *testing.T) {
	b := ppftest.New(t)
	in := instance("tcp2")
	in.Mode = ppf.Monitor
	if _, err := b.Engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); err == nil {
		t.Error("tcp2 was accepted in mode monitor")
	}
}
