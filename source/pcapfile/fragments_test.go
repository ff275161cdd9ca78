package pcapfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf/ppftest"
)

// part is a fragment of a datagram of 2480 bytes.
func part(t *testing.T, id uint16, from, to int) []byte {
	t.Helper()
	var whole packet.Out
	whole.SetIPv4(packet.IPv4{TTL: 64, Src: ppftest.Client4.Addr(), Dst: ppftest.Server4.Addr()})
	whole.SetUDP(packet.UDP{SrcPort: ppftest.Client4.Port(), DstPort: ppftest.Server4.Port()})
	whole.SetPayload(bytes.Repeat([]byte("12345678"), 309))
	head, err := whole.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	udp := slices.Concat(head[packet.IPv4MinLen:], whole.Payload())
	h := *whole.IPv4()
	h.Protocol, h.ID, h.FragOffset, h.MF = packet.ProtoUDP, id, uint16(from), to < len(udp)
	var out packet.Out
	out.SetIPv4(h)
	out.SetPayload(udp[from:to])
	if head, err = out.Encode(make([]byte, packet.MaxHeaders)); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(head, out.Payload())
}

// TestFragments: the report says of each fragment what became of it in the end, and
// the file has the datagram in fragments again.
func TestFragments(t *testing.T) {
	in := ppftest.Instance("a", "ip", "udp")
	in.Match.Protocol = 0
	frame := func(b []byte) []byte { return behind(LinkEthernet, binary.LittleEndian, b) }
	r := replay(kinds[5].file(LinkEthernet, timed(
		frame(part(t, 1, 0, 1480)),
		frame(part(t, 2, 0, 1480)), frame(part(t, 2, 1472, 2480)),
		frame(part(t, 1, 1480, 2480)),
		frame(part(t, 3, 0, 1480)),
	)...), in)
	if r.err != nil {
		t.Fatal(r.err)
	}
	var got []string
	for _, l := range r.lines(t) {
		got = append(got, fmt.Sprint(l.N, " ", l.Action, " ", l.Reasons, " ", l.Out))
	}
	want := []string{
		"2 dropped [ip.fragment.overlap] 0", "3 dropped [ip.fragment.overlap] 0", "1 merged [] 0", "4 sent [] 1", "4 split [] 2", "5 held [] 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if s := r.sums; !s.Accounted() || s.In != 5 || s.Out != 2 || s.Dropped != 2 || s.Merged != 1 || s.Held != 1 || s.Split != 1 {
		t.Errorf("%+v", *s)
	}
	out, _, err := readAll(r.out.Bytes())
	if err != nil || len(out) != 2 {
		t.Fatalf("%d packets, %v", len(out), err)
	}
	for i, want := range []layers.IPv4{{FragOffset: 0, Flags: layers.IPv4MoreFragments, Length: 1500}, {FragOffset: 185, Length: 1020}} {
		ip := gopacket.NewPacket(out[i].Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if ip.FragOffset != want.FragOffset || ip.Flags != want.Flags || ip.Length != want.Length {
			t.Errorf("fragment %d: %+v", i, ip)
		}
	}
	drops, _, err := readAll(r.drops.Bytes())
	if err != nil || len(drops) != 2 {
		t.Errorf("dropped: %+v, %v", drops, err)
	}
}
