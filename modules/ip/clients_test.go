package ip_test

import (
	"net/netip"
	"testing"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestClients: packets of, and to, clients that are not listed go nowhere, from the
// next packet on after a reload of a data module; both versions of IP.
func TestClients(t *testing.T) {
	b := ppftest.New(t)
	b.SetData("known", "192.0.2.1", "2001:db8:1::/48")
	b.SetData("banned")
	in := everything(set("clients", "@known", "198.51.100.0/24"), set("refuse_clients", "@banned", "198.51.100.7"))
	in.Match.Server = []netip.Prefix{netip.MustParsePrefix(server4 + "/32"), netip.MustParsePrefix(server6 + "/128")}
	b.Apply(in)
	want := func(src, dst, reason string) {
		t.Helper()
		before := b.Count(reason, ppf.OutcomeDrop)
		action, _ := b.Send(ppf.Forward, header{src: src, dst: dst, ttl: 64}.bytes(t))
		if (action == ppf.Accept) != (reason == "") || reason != "" && b.Count(reason, ppf.OutcomeDrop) != before+1 {
			t.Errorf("%s > %s: %v, want %q: %+v", src, dst, action, reason, b.Engine.ReasonCounts())
		}
	}
	want(client4, server4, "")
	want(server4, client4, "")
	want(client6, server6, "")
	want("198.51.100.1", server4, "")
	want("198.51.100.7", server4, "ip.client")
	want("192.0.2.2", server4, "ip.client")
	want(server4, "192.0.2.2", "ip.client")
	want("2001:db8:9::1", server6, "ip.client")
	b.SetData("banned", "192.0.2.0/24")
	want(client4, server4, "ip.client")
	want(client6, server6, "")
	// A router on the way is nobody's client: what it tells belongs to who sent the packet.
	const router = "2001:db8:9::1"
	if action, _ := b.Send(ppf.Forward, tooBig(t, router, client6, 1300, header{src: client6, dst: server6, ttl: 9}.bytes(t))); action != ppf.Accept {
		t.Errorf("an error for a client: %v %+v", action, b.Engine.ReasonCounts())
	}
	before := b.Count("ip.client", ppf.OutcomeDrop)
	b.Send(ppf.Forward, tooBig(t, router, "2001:db8:9::7", 1300, header{src: "2001:db8:9::7", dst: server6, ttl: 9}.bytes(t)))
	if n := b.Count("ip.client", ppf.OutcomeDrop); n != before+1 {
		t.Errorf("an error for a client that is refused: %+v", b.Engine.ReasonCounts())
	}
	if err := b.Engine.UnloadModule(t.Context(), "banned", true); err != nil {
		t.Fatal(err)
	}
	want(client6, server6, "ip.no-data")
	b.Accounted()
}
