package dhcp_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

var (
	device, dhcpServer = packet.MAC{2, 0, 0, 0, 0, 0xd}, packet.MAC{2, 0, 0, 0, 0, 0xe}
	nobody, all        = netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255")
	server, given      = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.50")
)

const (
	offYour, offNext, offRelay, offServer, offFile, offOptions = 16, 20, 24, 44, 108, 240

	discover, offer, ask, ack, nak, inform = 1, 2, 3, 5, 6, 8

	xid = 0x3903f326
)

// wire is an engine for a wire with the device on the server's side; settings are
// those of dhcp.
func wire(t testing.TB, settings ...ppf.KeyValue) *ppftest.Bench {
	t.Helper()
	chain := []string{"udp", "dhcp"}
	return ppftest.New(t, ppf.InstanceSpec{
		Name: "wire", Source: ppf.SourceInline, Hook: ppf.InlineClient, Chain: [2][]string{chain, chain},
		Match:   ppf.Match{In: "eth0", Out: "eth1"},
		Modules: map[string]ppf.Value{"dhcp": {Kind: ppf.ValueMap, Map: settings}},
	})
}

func set(key string, words ...string) ppf.KeyValue {
	v := ppf.Value{Kind: ppf.ValueList}
	for _, w := range words {
		v.List = append(v.List, ppf.Value{Kind: ppf.ValueScalar, Scalar: w})
	}
	if len(words) == 1 {
		v = v.List[0]
	}
	return ppf.KeyValue{Key: key, Value: v}
}

// message is one of the device or of the server.
type message struct {
	typ     byte // 0: no option for it
	options []byte
	edit    func(b []byte) // of the message
	ports   [2]uint16      // others than those of its type
	src     netip.Addr
}

func fromServer(typ byte) bool { return typ == offer || typ == ack || typ == nak }

// bytes is the message itself.
func (m message) bytes() []byte {
	b := make([]byte, offOptions)
	b[0], b[1], b[2] = 1, 1, 6
	if fromServer(m.typ) {
		b[0] = 2
		if m.typ != nak {
			copy(b[offYour:], given.AsSlice())
		}
	}
	binary.BigEndian.PutUint32(b[4:], xid)
	copy(b[28:], device[:])
	copy(b[236:], "\x63\x82\x53\x63")
	if m.typ != 0 {
		b = append(b, 53, 1, m.typ)
	}
	if fromServer(m.typ) {
		b = append(b, 54, 4, 192, 0, 2, 1)
	}
	b = append(append(b, m.options...), 255)
	if m.edit != nil {
		m.edit(b)
	}
	return b
}

// frame puts it into a frame.
func (m message) frame(t testing.TB) []byte {
	t.Helper()
	mac, src, ports := device, nobody, [2]uint16{68, 67}
	if fromServer(m.typ) {
		mac, src, ports = dhcpServer, server, [2]uint16{67, 68}
	}
	if m.ports != [2]uint16{} {
		ports = m.ports
	}
	if m.src.IsValid() {
		src = m.src
	}
	var out packet.Out
	out.SetEthernet(packet.Ethernet{Src: mac, Dst: packet.BroadcastMAC})
	out.SetIPv4(packet.IPv4{TTL: 64, Src: src, Dst: all})
	out.SetUDP(packet.UDP{SrcPort: ports[0], DstPort: ports[1]})
	out.SetPayload(m.bytes())
	head, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	return append(head, out.Payload()...)
}

// cross sends a message over the wire, an answer after the question.
func cross(t testing.TB, b *ppftest.Bench, m message) (payload []byte, reason string) {
	t.Helper()
	port := ppf.InlineServer
	if fromServer(m.typ) {
		if _, reason := b.Cross(ppf.InlineServer, message{typ: discover}.frame(t)); reason != "" {
			t.Fatalf("the question: %s", reason)
		}
		port = ppf.InlineClient
	}
	out, reason := b.Cross(port, m.frame(t))
	if out == nil {
		return nil, reason
	}
	p := gopacket.NewPacket(out, layers.LayerTypeEthernet, gopacket.Default)
	udp, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if bad := p.ErrorLayer(); bad != nil || !ok || int(udp.Length) != 8+len(udp.Payload) {
		t.Fatalf("gopacket: %v, %x", bad, out)
	}
	return udp.Payload, reason
}

// options reads a message's options with another decoder.
func options(t testing.TB, payload []byte) string {
	t.Helper()
	var d layers.DHCPv4
	if err := d.DecodeFromBytes(payload, gopacket.NilDecodeFeedback); err != nil {
		t.Fatalf("gopacket: %v: %x", err, payload)
	}
	var b strings.Builder
	for _, o := range d.Options {
		if o.Type == layers.DHCPOptPad || o.Type == layers.DHCPOptEnd {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.Write([]byte{'0' + byte(o.Type)/100, '0' + byte(o.Type)/10%10, '0' + byte(o.Type)%10, ':'})
		for _, c := range o.Data {
			const digits = "0123456789abcdef"
			b.Write([]byte{digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// TestOptions: what is known is sent in one form and order, what is not is left out,
// and what contradicts itself is refused.
func TestOptions(t *testing.T) {
	long := append([]byte{0, 255}, bytes.Repeat([]byte("a"), 255)...)
	long[0] = 12
	for _, tt := range []struct {
		name     string
		typ      byte
		options  []byte
		settings []ppf.KeyValue
		want     string // behind the type
		reason   string
	}{
		{"nothing", discover, nil, nil, "", ""},
		{"order and padding", discover, []byte{0, 0, 50, 4, 192, 0, 2, 50, 0, 12, 3, 'p', 'l', 'c'}, nil, "012:706c63 050:c0000232", ""},
		{"behind the end", discover, []byte{255, 50, 9, 1}, nil, "", ""},
		{"wanted", discover, []byte{55, 5, 1, 3, 43, 6, 200}, nil, "055:010306", ""},
		{"wanted, listed", discover, []byte{55, 5, 1, 3, 43, 6, 200}, []ppf.KeyValue{set("options", "43")}, "055:01032b06", ""},
		{"nothing known wanted", discover, []byte{55, 1, 200}, nil, "", "dhcp.option-removed"},
		{"lease", ack, []byte{3, 4, 192, 0, 2, 9, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 14, 16}, nil,
			"001:ffffff00 003:c0000209 051:00000e10 054:c0000201", ""},
		{"unknown", ack, []byte{200, 2, 1, 2}, nil, "054:c0000201", "dhcp.option-removed"},
		{"vendor", ack, []byte{43, 2, 1, 0}, nil, "054:c0000201", "dhcp.option-removed"},
		{"vendor, listed", ack, []byte{43, 2, 1, 0}, []ppf.KeyValue{set("options", "43")}, "043:0100 054:c0000201", ""},
		{"a client's option in an offer", offer, []byte{50, 4, 192, 0, 2, 50}, nil, "054:c0000201", "dhcp.option-removed"},
		{"a server's option in a question", discover, []byte{3, 4, 192, 0, 2, 50}, nil, "", "dhcp.option-removed"},
		{"in two parts", ack, []byte{6, 4, 192, 0, 2, 1, 3, 4, 192, 0, 2, 9, 6, 4, 192, 0, 2, 2}, nil, "003:c0000209 006:c0000201c0000202 054:c0000201", ""},
		{"text with zeros behind it", ack, []byte{15, 5, 'l', 'a', 'b', 0, 0}, nil, "015:6c6162 054:c0000201", ""},
		{"no text", ack, []byte{15, 3, 'l', 7, 'b'}, nil, "054:c0000201", "dhcp.option-removed"},
		{"a host name of zeros", discover, []byte{12, 2, 0, 0}, nil, "", "dhcp.option-removed"},
		{"rapid commit", discover, []byte{80, 0}, nil, "080:", ""},
		{"domains", ack, []byte{119, 14, 1, 'a', 3, 'l', 'a', 'b', 0, 1, 'b', 0xc0, 2, 1, 'c', 0}, nil,
			"054:c0000201 119:0161036c616200" + "0162036c616200" + "016300", ""},
		{"domains, compressed", ack, []byte{119, 11, 1, 'a', 3, 'l', 'a', 'b', 0, 1, 'b', 0xc0, 2}, nil,
			"054:c0000201 119:0161036c616200" + "0162036c616200", ""},
		{"a pointer to itself", ack, []byte{119, 4, 1, 'a', 0xc0, 2}, nil, "", "dhcp.option.name"},
		{"a pointer to its own name", ack, []byte{119, 4, 1, 'a', 0xc0, 0}, nil, "", "dhcp.option.name"},
		{"pointers in a ring", ack, []byte{119, 11, 1, 'a', 0, 1, 'b', 0xc0, 7, 1, 'c', 0xc0, 3}, nil, "", "dhcp.option.name"},
		{"a label beyond the end", ack, []byte{119, 3, 9, 'a', 0}, nil, "", "dhcp.option.name"},
		{"half a pointer", ack, []byte{119, 3, 1, 'a', 0xc0}, nil, "", "dhcp.option.name"},
		{"a label of 64", ack, append([]byte{119, 66, 64}, make([]byte, 65)...), nil, "", "dhcp.option.name"},
		{"routes", ack, []byte{121, 14, 24, 192, 0, 2, 10, 0, 0, 1, 20, 10, 1, 0xff, 10, 0, 0, 2}, nil, "", "dhcp.option.beyond-end"},
		{"routes, in full", ack, []byte{121, 16, 24, 192, 0, 2, 10, 0, 0, 1, 20, 10, 1, 0xff, 10, 0, 0, 2}, nil,
			"054:c0000201 121:18c000020a000001" + "140a01f00a000002", ""},
		{"a route of 33 bits", ack, []byte{121, 10, 33, 1, 2, 3, 4, 5, 10, 0, 0, 1}, nil, "", "dhcp.option.length-wrong"},
		{"a route without router", ack, []byte{121, 4, 24, 1, 2, 3}, nil, "", "dhcp.option.length-wrong"},
		{"a mask with holes", ack, []byte{1, 4, 255, 0, 255, 0}, nil, "", "dhcp.option.value"},
		{"a mask of 3 bytes", ack, []byte{1, 3, 255, 0, 0}, nil, "", "dhcp.option.length-wrong"},
		{"nine servers", ack, append([]byte{6, 36}, make([]byte, 36)...), nil, "", "dhcp.option.length-wrong"},
		{"nine servers, allowed", ack, append([]byte{6, 36}, make([]byte, 36)...), []ppf.KeyValue{set("addresses", "9")},
			"006:" + strings.Repeat("00", 36) + " 054:c0000201", ""},
		{"an address of 5 bytes", ack, []byte{6, 5, 1, 2, 3, 4, 5}, nil, "", "dhcp.option.length-wrong"},
		{"an MTU of 60", ack, []byte{26, 2, 0, 60}, nil, "", "dhcp.option.value"},
		{"a flag of 2", ack, []byte{19, 1, 2}, nil, "", "dhcp.option.value"},
		{"beyond the end", ack, []byte{12, 200, 1}, nil, "", "dhcp.option.beyond-end"},
		{"65 options", discover, bytes.Repeat([]byte{12, 1, 'a'}, 65), nil, "", "dhcp.option.too-many"},
		{"two types", discover, []byte{53, 1, ask}, nil, "", "dhcp.type"},
		{"an agent's option for a client", ack, []byte{82, 4, 1, 2, 'a', 'b'}, nil, "054:c0000201", "dhcp.option-removed"},
		{"longer than 255", discover, append(long, long...), nil, "", "dhcp.option.length-wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := wire(t, tt.settings...)
			payload, reason := cross(t, b, message{typ: tt.typ, options: tt.options})
			if reason != tt.reason {
				t.Fatalf("got reason %q, want %q", reason, tt.reason)
			}
			if payload == nil {
				if b.Count(tt.reason, ppf.OutcomeDrop) != 1 {
					t.Errorf("dropped; %+v", b.Engine.ReasonCounts())
				}
				return
			}
			want := strings.TrimSuffix("053:0"+string('0'+rune(tt.typ))+" "+tt.want, " ")
			if got := options(t, payload); got != want || len(payload) < 300 {
				t.Errorf("%d bytes: got  %s\nwant %s", len(payload), got, want)
			}
		})
	}
}

// TestLongOption: a value of more than 255 bytes goes on in parts (RFC 3396).
func TestLongOption(t *testing.T) {
	part := func(n int) []byte { return append([]byte{43, byte(n)}, bytes.Repeat([]byte{7}, n)...) }
	b := wire(t, set("options", "43"))
	payload, reason := cross(t, b, message{typ: ack, options: append(append(part(100), part(100)...), part(80)...)})
	if want := "053:05 043:" + strings.Repeat("07", 255) + " 043:" + strings.Repeat("07", 25) + " 054:c0000201"; reason != "" || options(t, payload) != want {
		t.Errorf("%s: got %s", reason, options(t, payload))
	}
}

// TestFields: fixed fields are typed values, too.
func TestFields(t *testing.T) {
	put := func(at int, b ...byte) func([]byte) { return func(m []byte) { copy(m[at:], b) } }
	relayed := [2]uint16{67, 67}
	for _, tt := range []struct {
		name     string
		m        message
		settings []ppf.KeyValue
		reason   string
		check    func(b []byte) bool // of what arrives
	}{
		{"flags", message{typ: discover, edit: put(10, 0xff, 0xff)}, nil, "", func(b []byte) bool { return b[10] == 0x80 && b[11] == 0 }},
		{"behind the hardware address", message{typ: discover, edit: put(34, 1, 2, 3)}, nil, "", func(b []byte) bool { return !bytes.Contains(b[28:44], []byte{1, 2, 3}) }},
		{"what a client has not to say", message{typ: discover, edit: put(offYour, 1, 2, 3, 4, 5, 6, 7, 8)}, nil, "", func(b []byte) bool {
			return bytes.Equal(b[offYour:offRelay], make([]byte, 8))
		}},
		{"behind the name", message{typ: offer, edit: put(offFile, 'a', '.', 'b', 0, 'x', 'y')}, nil, "", func(b []byte) bool {
			return bytes.Equal(b[offFile:offFile+6], []byte("a.b\x00\x00\x00"))
		}},
		{"overload", message{typ: ack, options: []byte{52, 1, 3}, edit: func(b []byte) {
			copy(b[offFile:], []byte{15, 3, 'l', 'a', 'b', 255})
			copy(b[offServer:], []byte{51, 4, 0, 0, 0, 9, 255})
		}}, nil, "", func(b []byte) bool {
			return bytes.Equal(b[offServer:236], make([]byte, 192)) && bytes.Contains(b[offOptions:], []byte("\x0f\x03lab")) && bytes.Contains(b[offOptions:], []byte{51, 4, 0, 0, 0, 9})
		}},
		{"overload that would be too long", message{typ: ack, options: slices.Concat([]byte{52, 1, 1, 67, 200}, bytes.Repeat([]byte{'a'}, 200), []byte{66, 90}, bytes.Repeat([]byte{'a'}, 90)),
			edit: put(offFile, append([]byte{15, 100}, bytes.Repeat([]byte{'a'}, 100)...)...)}, nil, "dhcp.too-long", nil},
		{"overload of 4", message{typ: ack, options: []byte{52, 1, 4}}, nil, "dhcp.option.value", nil},
		{"overload in a name", message{typ: ack, options: []byte{52, 1, 1}, edit: put(offFile, 52, 1, 2, 255)}, nil, "dhcp.option.value", nil},
		{"an option beyond a name", message{typ: ack, options: []byte{52, 1, 2}, edit: put(offServer, 15, 200)}, nil, "dhcp.option.beyond-end", nil},
		{"a name without end", message{typ: offer, edit: put(offServer, bytes.Repeat([]byte{'a'}, 64)...)}, nil, "dhcp.text", nil},
		{"a file without end", message{typ: offer, edit: put(offFile, bytes.Repeat([]byte{'a'}, 128)...)}, nil, "dhcp.text", nil},
		{"op 3", message{typ: discover, edit: put(0, 3)}, nil, "dhcp.header", nil},
		{"op of a server", message{typ: discover, edit: put(0, 2)}, nil, "dhcp.type", nil},
		{"no type", message{}, nil, "dhcp.type", nil},
		{"type 9", message{typ: 9}, nil, "dhcp.type", nil},
		{"address length 16", message{typ: discover, edit: put(2, 16)}, nil, "dhcp.header", nil},
		{"hardware type 6", message{typ: discover, edit: put(1, 6)}, nil, "dhcp.header", nil},
		{"17 hops", message{typ: discover, edit: put(3, 17)}, nil, "dhcp.header", nil},
		{"BOOTP", message{typ: discover, edit: put(236, 0)}, nil, "dhcp.cookie", nil},
		{"a group for the device", message{typ: offer, edit: put(offYour, 224, 0, 0, 1)}, nil, "dhcp.address", nil},
		{"no address for the device", message{typ: offer, edit: put(offYour, 0, 0, 0, 0)}, nil, "dhcp.address", nil},
		{"a lease of no address", message{typ: ack, options: []byte{51, 4, 0, 0, 0, 9}, edit: put(offYour, 0, 0, 0, 0)}, nil, "dhcp.address", nil},
		{"an answer to inform", message{typ: ack, edit: put(offYour, 0, 0, 0, 0)}, nil, "", func(b []byte) bool { return true }},
		{"loopback as next server", message{typ: offer, edit: put(offNext, 127, 0, 0, 1)}, nil, "dhcp.address", nil},
		{"ports of a server", message{typ: discover, ports: [2]uint16{67, 68}}, nil, "dhcp.port", nil},
		{"another port", message{typ: discover, ports: [2]uint16{1000, 67}}, nil, "dhcp.port", nil},
		{"a client as relay agent", message{typ: discover, edit: put(offRelay, 192, 0, 2, 9)}, nil, "dhcp.relay", nil},
		{"a relay agent", message{typ: discover, ports: relayed, src: server, edit: put(offRelay, 192, 0, 2, 9)}, nil, "dhcp.relay", nil},
		{"a relay agent, allowed", message{typ: discover, ports: relayed, src: server, options: []byte{82, 4, 1, 2, 'a', 'b', 12, 1, 'a'}, edit: put(offRelay, 192, 0, 2, 9)},
			[]ppf.KeyValue{set("relays", "pass")}, "", func(b []byte) bool { return bytes.Contains(b, []byte{12, 1, 'a', 82, 4, 1, 2, 'a', 'b', 255}) }},
		{"a relay agent without address", message{typ: discover, ports: relayed, src: server}, []ppf.KeyValue{set("relays", "pass")}, "dhcp.relay", nil},
		{"an answer that was relayed", message{typ: offer, edit: put(offRelay, 192, 0, 2, 9)}, nil, "", func(b []byte) bool { return b[offRelay] == 192 }},
		{"a server where none stands", message{typ: offer}, []ppf.KeyValue{set("servers", "server")}, "dhcp.server", nil},
		{"a server where one stands", message{typ: offer}, []ppf.KeyValue{set("servers", "client")}, "", func(b []byte) bool { return true }},
		{"another transaction", message{typ: offer, edit: put(4, 9)}, nil, "dhcp.unsolicited", nil},
		{"another device", message{typ: offer, edit: put(28, 9)}, nil, "dhcp.unsolicited", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			payload, reason := cross(t, wire(t, tt.settings...), tt.m)
			if reason != tt.reason || (payload == nil) != (reason != "") {
				t.Fatalf("got reason %q and %d bytes, want %q", reason, len(payload), tt.reason)
			}
			if payload != nil && !tt.check(payload) {
				t.Errorf("got %x", payload)
			}
		})
	}
}

// TestNoServer: an answer says who gives it, and of a short one no prefix passes.
func TestNoServer(t *testing.T) {
	b := wire(t)
	if _, reason := cross(t, b, message{typ: offer, edit: func(m []byte) { m[offOptions+3] = 0; copy(m[offOptions+3:], make([]byte, 6)) }}); reason != "dhcp.option.missing" {
		t.Errorf("got %q", reason)
	}
	whole := message{typ: discover}.frame(t)
	for n := range whole[:offOptions+42] {
		if n < 42 {
			continue
		}
		cut := bytes.Clone(whole[:n])
		binary.BigEndian.PutUint16(cut[16:], uint16(n-14))
		binary.BigEndian.PutUint16(cut[38:], uint16(n-34))
		copy(cut[24:], []byte{0, 0})
		binary.BigEndian.PutUint16(cut[24:], packet.SumBytes(cut[14:34]).Checksum())
		cut[40], cut[41] = 0, 0 // without a checksum
		if out, reason := b.Cross(ppf.InlineServer, cut); out != nil || reason != "dhcp.truncated" {
			t.Fatalf("%d bytes: %q", n-42, reason)
		}
	}
}

// TestWait: an answer comes in time, or not at all.
func TestWait(t *testing.T) {
	b := wire(t, set("wait", "10s"))
	send := func(after time.Duration) string {
		if _, reason := b.Cross(ppf.InlineServer, message{typ: discover}.frame(t)); reason != "" {
			t.Fatal(reason)
		}
		b.Env.Advance(int64(after))
		_, reason := b.Cross(ppf.InlineClient, message{typ: offer}.frame(t))
		return reason
	}
	if r := send(9 * time.Second); r != "" {
		t.Errorf("after 9 s: %s", r)
	}
	if r := send(12 * time.Second); r != "dhcp.unsolicited" {
		t.Errorf("after 12 s: %q", r)
	}
}

func TestSettings(t *testing.T) {
	b := wire(t)
	for _, wrong := range []ppf.KeyValue{
		set("servers", "none"), set("relays", "some"), set("options", "53"), set("options", "82"), set("options", "255"), set("options", "0"), set("options", "6"),
		set("addresses", "0"), set("addresses", "64"), set("wait", "0s"), set("wait", "2h"),
	} {
		in := ppftest.Instance("a", "udp", "dhcp")
		in.Modules = map[string]ppf.Value{"dhcp": {Kind: ppf.ValueMap, Map: []ppf.KeyValue{wrong}}}
		if _, err := b.Engine.Apply(&ppf.Spec{Instances: []ppf.InstanceSpec{in}}); err == nil {
			t.Errorf("%s: %+v was taken", wrong.Key, wrong.Value)
		}
	}
}

// lease is a message as servers send it.
var lease = message{typ: ack, options: []byte{51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1, 6, 8, 192, 0, 2, 1, 192, 0, 2, 2, 15, 3, 'l', 'a', 'b'}}

func batch(t testing.TB) (ppf.Handler, []ppf.Frame) {
	b := wire(t)
	var list []ppf.Frame
	for _, m := range []message{{typ: discover, options: []byte{55, 3, 1, 3, 6}}, lease} {
		f := b.Frame(ppf.InlineServer, m.frame(t))
		if fromServer(m.typ) {
			f.Hook = ppf.InlineClient
		} else {
			f.In, f.Out = f.Out, f.In
		}
		f.Link = packet.LinkEthernet
		list = append(list, f)
	}
	return b.Engine.Handlers()[0], list
}

func TestAllocations(t *testing.T) {
	h, list := batch(t)
	if n := testing.AllocsPerRun(100, func() { h.Handle(list) }); n != 0 || list[0].Action != ppf.Accept || list[1].Action != ppf.Accept {
		t.Errorf("%v allocations, %v %v, want 0", n, list[0].Action, list[1].Action)
	}
}

func BenchmarkPackets(b *testing.B) {
	h, list := batch(b)
	b.ReportAllocs()
	for b.Loop() {
		h.Handle(list)
	}
}

// TestAlone: without udp the datagram is built all the same.
func TestAlone(t *testing.T) {
	b := ppftest.NewWire(t, []string{"dhcp"})
	if payload, reason := cross(t, b, message{typ: discover}); reason != "" || options(t, payload) != "053:01" {
		t.Errorf("%q, %x", reason, payload)
	}
	wrong := message{typ: discover}.frame(t)
	wrong[40] ^= 1
	if out, reason := b.Cross(ppf.InlineServer, wrong); out != nil || reason != "udp.checksum" {
		t.Errorf("a wrong checksum: %q", reason)
	}
}
