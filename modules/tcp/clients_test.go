package tcp_test

import (
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestClients: who is not listed, or listed as refused, opens nothing; a data module
// that is reloaded counts for the next connection, and what is open stays open.
func TestClients(t *testing.T) {
	b := ppftest.New(t)
	b.SetData("known", "192.0.2.0/24")
	b.SetData("banned", "198.51.100.1")
	b.Apply(instance("clients", "@known", "refuse_clients", "@banned"))
	step(t, b, cs(syn), "")
	step(t, b, from(cs(syn), "203.0.113.9:1"), "tcp.client")
	b.SetData("banned", "192.0.2.1")
	step(t, b, cs(syn), "") // retransmitted
	step(t, b, sc(syn|ack), "")
	step(t, b, cs(ack), "")
	step(t, b, from(cs(syn), "192.0.2.1:1"), "tcp.client")
	step(t, b, from(cs(syn), "192.0.2.2:1"), "")
	for name, want := range map[string]string{"banned": "tcp.no-data", "known": "tcp.no-data"} {
		if err := b.Engine.UnloadModule(t.Context(), name, false); err == nil || !strings.Contains(err.Error(), "is used by function tcp of instance a") {
			t.Errorf("unload %s: %v", name, err)
		}
		if err := b.Engine.UnloadModule(t.Context(), name, true); err != nil {
			t.Fatal(err)
		}
		step(t, b, from(cs(syn), "192.0.2.3:1"), want)
	}
	step(t, b, cs(ack), "")
	b.Accounted()
}

// TestClientsUnknown: a list that is not there is an error of the configuration.
func TestClientsUnknown(t *testing.T) {
	for value, want := range map[string]string{
		"@nosuch": "@nosuch: no data module of that name is loaded", "nosuch": `"nosuch" is not an address or network (and no @NAME of a data module)`,
	} {
		problems := ppf.CheckSpec(&ppf.Spec{Instances: []ppf.InstanceSpec{instance("clients", value)}})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%s: %v, want %q", value, problems, want)
		}
	}
}

// TestClientsAllocations: to look a client up costs no allocation.
func TestClientsAllocations(t *testing.T) {
	b := ppftest.New(t)
	b.SetData("known", "192.0.2.0/24", "2001:db8::/32")
	b.SetData("banned", "203.0.113.9")
	b.Apply(instance("clients", "@known", "refuse_clients", "@banned"))
	frames := []ppf.Frame{b.Frame(ppf.Forward, from(cs(syn), "203.0.113.9:1").Bytes(t))}
	h := b.Engine.Handlers()[0]
	h.Handle(frames)
	if n := testing.AllocsPerRun(100, func() { h.Handle(frames) }); n != 0 {
		t.Errorf("%v allocations per refused SYN", n)
	}
}
