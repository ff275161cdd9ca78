package tcp

import (
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

// fastOpen lets an instance carry the cookie over.
func fastOpen(settings ...string) ppf.InstanceSpec {
	in := instanceOf(settings...)
	v := in.Modules["tcp"]
	v.Map = append(v.Map, ppf.KeyValue{Key: "options", Value: ppf.Value{Kind: ppf.ValueList, List: []ppf.Value{{Kind: ppf.ValueScalar, Scalar: "fast-open"}}}})
	in.Modules["tcp"] = v
	return in
}

// opening is a client's SYN with a cookie of so many bytes and data.
func opening(t *testing.T, b *bench, cookie uint8, data string) (sent packet.TCPOptions, payload string) {
	t.Helper()
	h := packet.TCP{Seq: 0xfffffeff, Flags: syn, Window: 0xffff, Options: packet.TCPOptions{Has: packet.OptFastOpen, FastOpenLen: cookie, FastOpen: [16]byte{1, 2, 3, 4}}}
	_, out := b.Send(ppf.Forward, ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: h, Payload: []byte(data), IP: packet.IPv4{DF: true}}.Bytes(t))
	var p packet.Packet
	if r := p.Parse(packet.LinkRawIP, out); r != packet.ReasonNone {
		t.Fatalf("%x: %v; %+v", out, r, b.Engine.ReasonCounts())
	}
	if r := p.TCP().ParseOptions(&sent); r != packet.ReasonNone {
		t.Fatal(r)
	}
	return sent, string(p.Payload())
}

// TestFastOpen: a listed cookie goes on, and data with it; without one in the list
// or on the SYN the data is removed.
func TestFastOpen(t *testing.T) {
	for _, tt := range []struct {
		name    string
		in      ppf.InstanceSpec
		cookie  uint8
		data    string
		carried bool
		want    string
	}{
		{"not listed", instanceOf(), 4, "abcd", false, ""},
		{"a request", fastOpen(), 0, "", true, ""},
		{"a request with data", fastOpen(), 0, "abcd", true, ""},
		{"a cookie", fastOpen(), 4, "abcd", true, "abcd"},
		{"trusted", fastOpen("retransmit", "trust"), 4, "abcd", true, "abcd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil, tt.in)
			sent, payload := opening(t, b, tt.cookie, tt.data)
			if got := sent.Has&packet.OptFastOpen != 0; got != tt.carried || got && sent.FastOpenLen != tt.cookie || payload != tt.want {
				t.Errorf("sent with options %v and data %q, want the cookie: %v, and %q", sent, payload, tt.carried, tt.want)
			}
			if n := b.Count("tcp.syn-data-removed", ppf.OutcomeRepair); (n == 1) != (tt.data != tt.want) {
				t.Errorf("%d times data was removed", n)
			}
			b.Accounted()
		})
	}
}

// TestFastOpenData: the data of a SYN has one value too, whether its server took it
// or the client sends it again; a server may answer before the handshake is done.
func TestFastOpenData(t *testing.T) {
	for taken, rest := range map[int]string{0: "0:abcdef", 4: "4:ef"} {
		b := newBench(t, nil, fastOpen())
		opening(t, b, 4, "abcd")
		if _, payload := opening(t, b, 4, "abXd"); payload != "abcd" {
			t.Errorf("again: %q", payload)
		}
		for i, st := range []struct {
			s    seg
			want string
		}{
			{seg{d: sc, at: -1, acks: taken, flags: syn}, "-1:"},
			{seg{d: sc, data: "answer", acks: taken}, "0:answer"},
			{seg{data: "XXcdef", acks: 6}, rest},
			{seg{d: sc, at: 6, acks: 6}, "6:"},
		} {
			if got := b.send(st.s); got != st.want {
				t.Fatalf("%d taken, step %d: got %q, want %q; %+v", taken, i, got, st.want, b.Engine.ReasonCounts())
			}
		}
		b.idle()
		b.Accounted()
	}
	b := newBench(t, nil, fastOpen())
	opening(t, b, 4, "abcd")
	b.send(seg{d: sc, at: -1, acks: 4, flags: syn})
	if _, payload := opening(t, b, 4, "abcd"); payload != "" {
		t.Errorf("data that was acknowledged was sent again: %q", payload)
	}
}
