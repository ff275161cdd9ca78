package pcapfile

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

var (
	macOne = packet.MAC{2, 0, 0, 0, 0, 1}
	macTwo = packet.MAC{2, 0, 0, 0, 0, 2}
)

// onWire is an instance of an inline pair.
func onWire(name string, chain ...string) ppf.InstanceSpec {
	return ppf.InstanceSpec{
		Name: name, Source: ppf.SourceInline, Hook: ppf.InlineClient, Inline: ppf.InlinePair{Client: "eth1", Server: "eth2"},
		Match: ppf.Match{In: "eth1", Out: "eth2"}, Chain: [2][]string{chain, chain},
	}
}

// frame builds a frame with gopacket.
func frame(t *testing.T, src, dst packet.MAC, typ layers.EthernetType, more ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	all := append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: typ}}, more...)
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func who(src packet.MAC, from, to string) *layers.ARP {
	return &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: src[:], SourceProtAddress: netip.MustParseAddr(from).AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(to).AsSlice(),
	}
}

// fates are what became of each packet, with its first reason.
func (r *replayed) fates(t *testing.T) (list []string) {
	t.Helper()
	for _, l := range r.lines(t) {
		s := string(l.Action)
		if len(l.Reasons) > 0 {
			s += " " + l.Reasons[0]
		}
		list = append(list, s)
	}
	return list
}

// TestWire sends recorded frames through the chain of a wire: ARP, listed
// ethertypes and IP are built anew with their Ethernet header, and another decoder
// reads them; what the chain does not know is dropped.
func TestWire(t *testing.T) {
	client, server := ppftest.Client4.Addr().String(), ppftest.Server4.Addr().String()
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	in := onWire("wire", "ethernet", "arp", "tcp")
	in.Modules = map[string]ppf.Value{"ethernet": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{{Key: "ethertypes", Value: ppf.Value{Kind: ppf.ValueList, List: []ppf.Value{{Kind: ppf.ValueScalar, Scalar: "profinet"}}}}}}}
	data := gopacket.Payload(bytes.Repeat([]byte{7}, 50))
	packets := timed(
		frame(t, macOne, packet.BroadcastMAC, layers.EthernetTypeARP, who(macOne, client, server)),
		frame(t, macOne, packet.BroadcastMAC, layers.EthernetTypeARP, who(macTwo, client, server)), // another's address
		frame(t, macOne, macTwo, 0x8892, data),
		frame(t, macOne, macTwo, 0x1234, data),
		frame(t, macOne, macTwo, layers.EthernetTypeIPv4, gopacket.Payload(syn)),
		[]byte{1, 2, 3},
	)
	for _, k := range kinds {
		r := replay(k.file(LinkEthernet, packets...), in)
		if r.err != nil {
			t.Fatal(r.err)
		}
		want := []string{"sent", "dropped arp.sender-mac", "sent", "dropped ethernet.type", "sent", "dropped frame.truncated"}
		if got := r.fates(t); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", k.name, got, want)
		}
		out, _, err := readAll(r.out.Bytes())
		if err != nil || len(out) != 3 {
			t.Fatalf("%s: %d frames, %v", k.name, len(out), err)
		}
		for i, layer := range []gopacket.LayerType{layers.LayerTypeARP, layers.LayerTypeEthernet, layers.LayerTypeTCP} {
			p := gopacket.NewPacket(out[i].Data, layers.LayerTypeEthernet, gopacket.Default)
			eth, ok := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			if p.ErrorLayer() != nil && i != 1 || p.Layer(layer) == nil || !ok || !bytes.Equal(eth.SrcMAC, macOne[:]) || len(out[i].Data) < 60 {
				t.Errorf("%s: frame %d: %v", k.name, i+1, p)
			}
		}
	}
}

// TestWireSides: which side a frame came from is told by the server's address, and
// else by who has spoken to whom.
func TestWireSides(t *testing.T) {
	named, open := onWire("named", "tcp"), onWire("open", "tcp")
	named.Match.Server, named.Initiate = []netip.Prefix{netip.PrefixFrom(ppftest.Server4.Addr(), 32)}, ppf.InitiateClient
	open.Initiate = ppf.InitiateClient
	syn := func(src, dst netip.AddrPort) []byte {
		from, to := macOne, macTwo
		if src.Addr() == ppftest.Server4.Addr() {
			from, to = to, from
		}
		return frame(t, from, to, layers.EthernetTypeIPv4, gopacket.Payload(ppftest.Segment{Src: src, Dst: dst, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)))
	}
	fromClient := syn(ppftest.Client4, ppftest.Server4)
	fromServer := syn(netip.AddrPortFrom(ppftest.Server4.Addr(), 20), netip.AddrPortFrom(ppftest.Client4.Addr(), 5000))
	for _, tt := range []struct {
		name     string
		instance ppf.InstanceSpec
		packets  [][]byte
		want     []string
	}{
		{"the server speaks first", named, [][]byte{fromServer, fromClient}, []string{"dropped tcp.initiate", "sent"}},
		{"whoever speaks first", open, [][]byte{fromClient, fromServer}, []string{"sent", "dropped tcp.initiate"}},
		{"whoever speaks first is a client", open, [][]byte{fromServer}, []string{"sent"}},
	} {
		r := replay(kinds[0].file(LinkEthernet, timed(tt.packets...)...), tt.instance)
		if r.err != nil {
			t.Fatal(r.err)
		}
		if got := r.fates(t); len(got) < len(tt.want) || !slices.Equal(slices.DeleteFunc(got, func(s string) bool { return s == "emitted" }), tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestWireUnmatched: what no instance matches is copied, as everywhere in a replay.
func TestWireUnmatched(t *testing.T) {
	in := onWire("arp", "arp")
	in.Match.ARP = true
	other := frame(t, macOne, macTwo, 0x8892, gopacket.Payload(make([]byte, 46)))
	r := replay(kinds[0].file(LinkEthernet, timed(other)...), in)
	out, _, err := readAll(r.out.Bytes())
	if r.err != nil || err != nil || len(out) != 1 || !bytes.Equal(out[0].Data, other) {
		t.Errorf("%v, %v, %d frames", r.err, err, len(out))
	}
	if got := r.fates(t); !slices.Equal(got, []string{"unmatched"}) {
		t.Errorf("got %q", got)
	}
}

// TestWireEmitted: an answer to a frame is a frame, back to who sent it.
func TestWireEmitted(t *testing.T) {
	in := onWire("wire", "tcp")
	in.Match.Server, in.Initiate = []netip.Prefix{netip.PrefixFrom(ppftest.Server4.Addr(), 32)}, ppf.InitiateClient
	syn := frame(t, macTwo, macOne, layers.EthernetTypeIPv4,
		gopacket.Payload(ppftest.Segment{Src: ppftest.Server4, Dst: ppftest.Client4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)))
	r := replay(kinds[0].file(LinkEthernet, timed(syn)...), in)
	if r.err != nil {
		t.Fatal(r.err)
	}
	if got := r.fates(t); !slices.Equal(got, []string{"dropped tcp.initiate", "emitted"}) {
		t.Fatalf("got %q", got)
	}
	out, _, err := readAll(r.out.Bytes())
	if err != nil || len(out) != 1 || !bytes.Equal(out[0].Data[:6], macTwo[:]) || !bytes.Equal(out[0].Data[6:12], macOne[:]) || len(out[0].Data) != 60 {
		t.Errorf("%v, %d frames: %x", err, len(out), out)
	}
}

// TestWires: a capture is of one wire.
func TestWires(t *testing.T) {
	two := onWire("two", "tcp")
	two.Inline = ppf.InlinePair{Client: "eth3", Server: "eth4"}
	for _, more := range []ppf.InstanceSpec{two, ppftest.Instance("hook", "tcp")} {
		if r := replay(kinds[0].file(LinkEthernet, timed(make([]byte, 60))...), onWire("one", "tcp"), more); !errors.Is(r.err, ErrWires) {
			t.Errorf("%s: %v", more.Name, r.err)
		}
	}
	// Packets without an Ethernet header have no wire.
	syn := ppftest.Segment{Src: ppftest.Client4, Dst: ppftest.Server4, TCP: packet.TCP{Flags: packet.SYN}}.Bytes(t)
	if r := replay(kinds[0].file(LinkRaw, timed(syn)...), onWire("one", "tcp")); r.err != nil || r.sums.Out != 1 || r.sums.Unmatched != 0 {
		t.Errorf("%+v", r)
	}
}
