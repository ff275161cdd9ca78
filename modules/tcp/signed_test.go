package tcp_test

import (
	"bytes"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// withSignature signs a segment with MD5, or with TCP-AO.
func withSignature(s ppftest.Segment, kind packet.TCPOptionSet) ppftest.Segment {
	s.Options.Has |= kind
	s.Options.SignatureLen = 16
	for i := range 16 {
		s.Options.Signature[i] = byte(i + 1)
	}
	return s
}

// TestSignedCarried: a signed connection is tracked, and what its signature covers
// goes on as it came, number and length of the header too.
func TestSignedCarried(t *testing.T) {
	for _, kind := range []packet.TCPOptionSet{packet.OptMD5, packet.OptAO} {
		b := translated(t, translating(ppf.Input, "signed", "carry", "mss_max", "1000"))
		send := func(hook ppf.Hook, s ppftest.Segment) {
			t.Helper()
			data := withSignature(s, kind).Bytes(t)
			v := pass(t, b, hook, ppftest.Segment{Src: s.Src, Dst: s.Dst, TCP: withSignature(s, kind).TCP, Payload: s.Payload, IP: s.IP})
			in := view(t, data)
			var o packet.TCPOptions
			v.ParseOptions(&o)
			if v.Seq() != in.Seq() || v.Ack() != in.Ack() || v.HeaderLen() != in.HeaderLen() || o.Has&kind == 0 || o.Signature[2] != 3 ||
				!bytes.Equal(v.Payload(), in.Payload()) || kind == packet.OptAO && !bytes.Equal(v.Options(), in.Options()) {
				t.Errorf("%v %v: %v %d %d with %v, want %d %d", kind, s.Flags, v.Flags(), v.Seq(), v.Ack(), o, in.Seq(), in.Ack())
			}
		}
		first, answer := cs(syn), sc(syn|ack)
		first.Options = packet.TCPOptions{Has: packet.OptMSS, MSS: 1460}
		answer.Options = first.Options
		send(ppf.Input, first)
		send(ppf.Output, answer)
		data := cs(ack | psh)
		data.Payload = []byte("signed")
		send(ppf.Input, data)
		again := data
		again.Payload = []byte("SIGNED") // whether it is signed right the receiver knows
		send(ppf.Input, again)
		for name, c := range map[string]struct {
			s      ppftest.Segment
			reason string
		}{
			"unsigned":        {cs(ack), "tcp.unsigned"},
			"an unsigned RST": {cs(rst | ack), "tcp.unsigned"},
			"urgent":          {withSignature(cs(ack|urg), kind), "tcp.signed-changed"},
			"not agreed":      {withSignature(cs(ack|packet.ECE), kind), "tcp.signed-changed"},
		} {
			if action, _ := b.Send(ppf.Input, c.s.Bytes(t)); action != ppf.Drop || b.Count(c.reason, ppf.OutcomeDrop) == 0 {
				t.Errorf("%v, %s: %v; %+v", kind, name, action, b.Engine.ReasonCounts())
			}
		}
		if list := b.Engine.Connections("", 0); len(list) != 1 || list[0].CS.Translation != 0 || list[0].State != "ESTABLISHED" {
			t.Errorf("%v: %+v", kind, list)
		}
		b.Accounted()
	}
}

// TestSignedOptions: of a segment that MD5 signs an option may be left out, of one
// that TCP-AO signs none.
func TestSignedOptions(t *testing.T) {
	const unknown = 254
	for kind, want := range map[byte]ppf.Action{19: ppf.Accept, 29: ppf.Drop} {
		b := ppftest.New(t, instance("signed", "carry"))
		data := withOptions(cs(syn), append(append([]byte{unknown, 4, 0, 0, kind, 18}, make([]byte, 16)...), 1, 1)...).Bytes(t)
		action, out := b.Send(ppf.Forward, data)
		if action != want {
			t.Errorf("kind %d: %v; %+v", kind, action, b.Engine.ReasonCounts())
		}
		if want == ppf.Accept && (bytes.Contains(out, []byte{unknown, 4}) || len(out) != len(data)) {
			t.Errorf("kind %d: %x became %x", kind, data, out)
		}
	}
}
