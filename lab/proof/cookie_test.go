package proof

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// cookies lets an instance answer every SYN itself.
func cookies(in ppf.InstanceSpec) ppf.InstanceSpec {
	in = fromStart(in)
	in.Hook, in.Handshake = ppf.Input, ppf.HandshakeCookie
	m := in.Modules["tcp"]
	m.Map = append(m.Map, ppf.KeyValue{Key: "cookie_from", Value: ppf.Value{Kind: ppf.ValueScalar, Scalar: "0"}})
	in.Modules["tcp"] = m
	return in
}

// drawCookies draws a connection whose server the chain has seen answer another
// client, so that a cookie opens it.
func drawCookies(r *rapid.T, t testing.TB, in ppf.InstanceSpec) (p *ppftest.Path, client, server *ppftest.End) {
	p, client, server = drawPath(r, t, cookies(in))
	p.Hooks = [2]ppf.Hook{ppf.Input, ppf.Output}
	other := ppftest.NewEnd(t, netip.AddrPortFrom(client.Local.Addr(), 1), server.Local, p.Bench.Env.Now)
	other.SACK, other.Stamps, other.Scale = true, true, 1
	same := *server
	if _, syn := p.Bench.Send(ppf.Input, other.SYN()); syn != nil {
		same.Remote = other.Local
		p.Bench.Send(ppf.Output, same.Receive(syn))
	}
	p.Bench.Emitted = nil
	return p, client, server
}

// TestCookieConversations is TestConversations with every handshake answered in the
// server's place: what is sent to either side holds P1 to P3, too.
func TestCookieConversations(t *testing.T) {
	opened := uint64(0)
	rapid.Check(t, func(r *rapid.T) {
		p, client, server := drawCookies(r, t, ppftest.Instance("web", "tcp"))
		if err := p.Converse(client, server); err != nil {
			r.Fatal(err)
		}
		frames := framed(p.Passed)
		for _, v := range append(Judged(frames), Streams(frames).Ambiguous()...) {
			r.Error(v)
		}
		opened += p.Bench.Engine.Instances()[0].Cookies.Opened
		p.Bench.Accounted()
	})
	if opened == 0 {
		t.Error("no cookie opened a connection")
	}
}

// TestCookieMutations is TestMutations with them; P3 is judged of what reaches the
// server. The client may get the answer to a mutant's SYN between two segments of a
// connection that has ended and of which nothing was forgotten for a SYN alone.
func TestCookieMutations(t *testing.T) {
	mutants := 0
	rapid.Check(t, func(r *rapid.T) {
		p, client, server := drawCookies(r, t, everything())
		p.Steps = 200
		p.Mutate = func(pkt []byte) (list [][]byte) {
			for range p.Pick(3, "mutants") {
				list = append(list, ppftest.Mutate(pkt, p.Pick))
				mutants++
			}
			return list
		}
		_ = p.Converse(client, server) // a mutant may well have reset it
		toServer := slices.DeleteFunc(slices.Clone(p.Passed), func(pkt []byte) bool {
			var out packet.Packet
			return out.Parse(packet.LinkRawIP, pkt) != packet.ReasonNone || out.Dst() != server.Local.Addr()
		})
		for _, v := range append(Judged(framed(p.Passed)), Streams(framed(toServer)).Ambiguous()...) {
			r.Error(v)
		}
		p.Bench.Accounted()
	})
	if mutants == 0 {
		t.Error("no mutant was sent")
	}
}
