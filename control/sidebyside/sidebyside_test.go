package sidebyside

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

func segment(t *testing.T, c packet.TCP, payload int, edit func([]byte) []byte) []byte {
	t.Helper()
	return ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: c, Payload: make([]byte, payload), EditIP: edit}.Bytes(t)
}

// changed are the names of the fields that differ.
func changed(lines []Line) (names []string) {
	for _, l := range lines {
		if l.Changed {
			names = append(names, l.Field)
		}
	}
	return names
}

func get(t *testing.T, lines []Line, field string) Line {
	t.Helper()
	i := find(lines, field)
	if i < 0 {
		t.Fatalf("no line %s in %+v", field, lines)
	}
	return lines[i]
}

func TestCompare(t *testing.T) {
	before := segment(t, packet.TCP{Flags: packet.SYN, Window: 100, Seq: 7}, 0, nil)
	after := segment(t, packet.TCP{Flags: packet.SYN, Window: 200, Seq: 7}, 0, nil)
	lines := Compare(ppf.Pair{Received: before, ReceivedLen: len(before), Sent: after, SentLen: len(after)})
	if got := changed(lines); !slices.Equal(got, []string{"tcp.window", "tcp.checksum"}) {
		t.Errorf("changed %q", got)
	}
	if w := get(t, lines, "tcp.window"); w.Received != "100" || w.Sent != "200" {
		t.Errorf("%+v", w)
	}
	if s := get(t, lines, "ip.src"); s.Received != ppftest.Client4.Addr().String() || s.Sent != s.Received {
		t.Errorf("%+v", s)
	}
}

// TestDropped: where nothing is sent nothing is changed.
func TestDropped(t *testing.T) {
	b := segment(t, packet.TCP{}, 0, nil)
	lines := Compare(ppf.Pair{Received: b, ReceivedLen: len(b)})
	if got := changed(lines); got != nil || get(t, lines, "tcp.flags").Sent != "" {
		t.Errorf("%+v", lines)
	}
}

// TestCut: of a packet that is kept in part the headers are read.
func TestCut(t *testing.T) {
	b := segment(t, packet.TCP{Flags: packet.ACK}, 5000, nil)
	lines := Compare(ppf.Pair{Received: b[:100], ReceivedLen: len(b)})
	if got := get(t, lines, "payload").Received; got != "5000 bytes" {
		t.Errorf("payload %q", got)
	}
	if got := get(t, lines, "length").Received; got != "5040" {
		t.Errorf("length %q", got)
	}
}

// TestUnreadable: what cannot be read says why, and what was read before it stays.
func TestUnreadable(t *testing.T) {
	b := segment(t, packet.TCP{Flags: packet.SYN}, 0, func(ip []byte) []byte { return append(ip, 1, 1, 1, 1) })
	good := segment(t, packet.TCP{Flags: packet.SYN}, 0, nil)
	lines := Compare(ppf.Pair{Received: b, ReceivedLen: len(b), Sent: good, SentLen: len(good)})
	if o := get(t, lines, "ip.options"); o.Received != "01 01 01 01" || o.Sent != "none" || !o.Changed {
		t.Errorf("%+v", o)
	}
	lines = Compare(ppf.Pair{Received: good[:25], ReceivedLen: 25, Sent: good, SentLen: len(good)})
	if l := get(t, lines, "cannot be read"); l.Received != "ip.total-length" || l.Sent != "" {
		t.Errorf("%+v", l)
	}
	if l := get(t, lines, "tcp.flags"); l.Received != "" || l.Sent != "SYN" || !l.Changed {
		t.Errorf("%+v", l)
	}
	if lines := Compare(ppf.Pair{}); len(lines) != 2 {
		t.Errorf("of nothing: %+v", lines)
	}
}

// TestLayers names fields of every kind of header.
func TestLayers(t *testing.T) {
	var out packet.Out
	encode := func(set func()) []byte {
		t.Helper()
		out.Reset()
		set()
		head, err := out.Encode(make([]byte, packet.MaxHeaders))
		if err != nil {
			t.Fatal(err)
		}
		return append(head, out.Payload()...)
	}
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for _, tt := range []struct {
		ethernet bool
		field    string
		set      func()
	}{
		{false, "udp.length", func() {
			out.SetIPv6(packet.IPv6{Src: a, Dst: b, HopLimit: 9})
			out.SetUDP(packet.UDP{SrcPort: 1, DstPort: 2})
		}},
		{false, "icmpv6.type", func() {
			out.SetIPv6(packet.IPv6{Src: a, Dst: b, HopLimit: 9})
			out.SetICMPv6(packet.ICMPv6{Type: packet.ICMPv6Echo})
		}},
		{true, "vlan[0]", func() {
			out.SetEthernet(packet.Ethernet{})
			out.SetVLANs(packet.VLANTag{TPID: packet.EtherTypeVLAN, VID: 5})
			out.SetIPv6(packet.IPv6{Src: a, Dst: b, HopLimit: 9})
			out.SetUDP(packet.UDP{SrcPort: 1, DstPort: 2})
		}},
		{true, "arp.sender", func() {
			out.SetEthernet(packet.Ethernet{})
			out.SetARP(packet.ARP{Op: packet.ARPRequest, SenderIP: netip.MustParseAddr("192.0.2.1"), TargetIP: netip.MustParseAddr("192.0.2.2")})
		}},
	} {
		p := encode(tt.set)
		lines := Compare(ppf.Pair{Ethernet: tt.ethernet, Received: p, ReceivedLen: len(p)})
		if l := get(t, lines, tt.field); l.Received == "" {
			t.Errorf("%s: %+v", tt.field, lines)
		}
		if find(lines, "cannot be read") >= 0 {
			t.Errorf("%s: %+v", tt.field, lines)
		}
	}
}
