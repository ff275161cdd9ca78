package e2e

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
)

// wire is a configuration with the proxy as a bump in the wire.
func wire(chain string) string {
	return `version: 1
instances:
  - name: wire
    source: inline
    inline: {client: ` + lab.ClientInterface + `, server: ` + lab.ServerInterface + `}
    chain: [` + chain + `]
`
}

// TestInline transfers over a wire, with the offloads of an ordinary host and
// without; what arrives is judged by decoders that are not ours.
func TestInline(t *testing.T) {
	for name, off := range map[string]bool{"offloads": false, "no offloads": true} {
		t.Run(name, func(t *testing.T) {
			l := up(t, lab.Options{Inline: true, NoOffloads: off})
			w := web(t, l.Server)
			echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
			t.Cleanup(func() { check(t, echo.Close()) })
			d := start(t, l, wire("arp, tcp"))
			var file bytes.Buffer
			capture := must(l.Server.Capture(lab.CaptureOptions{Writer: &file, Filter: received(t, l)}))(t)
			transfers(t, small, l.Client, l.Server, "tcp4", port(t, w.Addr), port(t, echo.Addr))
			if s := must(capture.Stop())(t); s.Frames == 0 {
				t.Fatalf("capture: %+v", s)
			}
			if s := d.accounted(t); s.Packets.Sent == 0 || s.Packets.Unchanged > 0 || s.Packets.Emitted > 0 {
				t.Errorf("not everything was built anew: %+v", s.Packets)
			}
			if off {
				clean(t, capture.Frames(), file.Bytes())
			}
		})
	}
}

// TestInlineAttacks sends the lab's malformed packets across a wire.
func TestInlineAttacks(t *testing.T) {
	l := up(t, lab.Options{Inline: true, NoOffloads: true})
	w := web(t, l.Server)
	env := must(l.AttackEnv(port(t, w.Addr)))(t)
	d := start(t, l, wire("arp, tcp, pass")+notAdopting)
	d.withstands(t, l, env, attacksOn("tcp"))
	d.accounted(t)
	// The server is none the worse.
	must(l.Client.Download(within(t, patience), at(hostPort(l.Server, "tcp4", port(t, w.Addr))).DataURL(1_000_000, 6)))(t)
}

// TestInlinePeers transfers with tools that are not ours.
func TestInlinePeers(t *testing.T) {
	l := up(t, lab.Options{Inline: true})
	w := web(t, l.Server)
	foreign := closedPort(t, l.Server)
	start(t, l, wire("arp, tcp, pass"))
	for _, f := range families {
		t.Run(f.name+"/curl", func(t *testing.T) { curl(t, l.Client, at(hostPort(l.Server, f.network, port(t, w.Addr)))) })
	}
	t.Run("iperf3", func(t *testing.T) {
		need(t, "iperf3")
		iperf3Server(t, l.Server, foreign)
		for _, f := range families {
			t.Run(f.name, func(t *testing.T) { iperf3(t, l.Client, l.Server, f.network, foreign) })
		}
	})
}

// TestInlineEtherTypes sends frames whose payload no function knows: what is
// listed arrives built anew, and nothing else.
func TestInlineEtherTypes(t *testing.T) {
	l := up(t, lab.Options{Inline: true, NoOffloads: true})
	d := start(t, l, wire("ethernet, arp, tcp")+"    modules: {ethernet: {ethertypes: [profinet], vlans: [untagged, 7]}}\n")
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	t.Cleanup(func() { check(t, sender.Close()) })
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	src, dst := packet.MAC(must(l.Client.MAC(""))(t)), packet.MAC(must(l.Server.MAC(""))(t))
	const profinet, lldp = 0x8892, 0x88cc
	var wanted [][]byte
	for _, f := range []struct {
		typ  packet.EtherType
		vlan uint16
		data string
	}{{lldp, 0, "lldp"}, {profinet, 8, "another VLAN"}, {profinet, 7, "tagged"}, {profinet, 0, "untagged"}} {
		var out packet.Out
		out.SetEthernet(packet.Ethernet{Src: src, Dst: dst, Type: f.typ})
		if f.vlan != 0 {
			out.SetVLANs(packet.VLANTag{TPID: packet.EtherTypeVLAN, VID: f.vlan, PCP: 6})
		}
		out.SetPayload([]byte(f.data))
		sent := append(must(out.Encode(make([]byte, packet.MaxHeaders)))(t), f.data...)
		if err := sender.Send(sent); err != nil {
			t.Fatal(err)
		}
		if f.typ == profinet && f.vlan != 8 {
			wanted = append(wanted, sent)
		}
	}
	for _, sent := range wanted {
		must(capture.Wait(within(t, patience), func(f lab.Frame) bool { return !f.Outgoing && bytes.HasPrefix(f.Data, sent) }))(t)
	}
	must(capture.Stop())(t)
	for data, want := range map[string]bool{"lldp": false, "another VLAN": false, "tagged": true, "untagged": true} {
		if got := slices.ContainsFunc(capture.Frames(), func(f lab.Frame) bool { return !f.Outgoing && bytes.Contains(f.Data, []byte(data)) }); got != want {
			t.Errorf("%s: arrived %v, want %v", data, got, want)
		}
	}
	for _, reason := range []string{"ethernet.type", "ethernet.vlan"} {
		eventually(t, reason+" counted", func() (bool, string) { return d.counted(t, reason) > 0, fmt.Sprintf("%+v", d.reasons(t)) })
	}
	d.accounted(t)
}

// TestInlineNeighbours carries IPv6, whose neighbour discovery the chain only
// passes on.
func TestInlineNeighbours(t *testing.T) {
	if d := carry6(t, "arp, tcp, pass"); d.accounted(t).Packets.Dropped > 0 {
		t.Errorf("%+v", d.reasons(t))
	}
}

// TestInlineND builds the neighbour discovery of real hosts anew: all of it
// passes, and nothing unchanged.
func TestInlineND(t *testing.T) {
	d := carry6(t, "arp, ip, nd, icmp, udp, tcp")
	if s := d.accounted(t); s.Packets.Unchanged > 0 {
		t.Errorf("not everything was built anew: %+v", s.Packets)
	}
	for _, r := range d.reasons(t) {
		if strings.HasPrefix(r.Reason, "nd.") || strings.HasPrefix(r.Reason, "icmp6.") {
			t.Errorf("%+v", r)
		}
	}
}

// carry6 transfers over IPv6 through a chain between hosts that have to find each
// other first.
func carry6(t *testing.T, chain string) *daemon {
	t.Helper()
	need(t, "ip")
	l := up(t, lab.Options{Inline: true})
	w := web(t, l.Server)
	d := start(t, l, wire(chain))
	capture := must(l.Client.Capture(lab.CaptureOptions{}))(t)
	for _, h := range []*lab.Host{l.Client, l.Server} {
		if r := execute(t, h, "ip", "-6", "neigh", "flush", "all"); r.status != 0 {
			t.Fatal(r)
		}
	}
	s := at(hostPort(l.Server, "tcp6", port(t, w.Addr)))
	must(l.Client.Download(within(t, patience), s.DataURL(20_000_000, 1)))(t)
	must(l.Client.Upload(within(t, patience), s.UploadURL(), 20_000_000, 2))(t)
	must(capture.Wait(within(t, patience), func(f lab.Frame) bool {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
		return !f.Outgoing && p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement) != nil
	}))(t)
	must(capture.Stop())(t)
	if s := d.accounted(t); s.Unmatched.In > 0 {
		t.Errorf("%+v, %+v", s.Packets, d.reasons(t))
	}
	return d
}

// TestInlineVLAN sends SYNs with one tag and with two, of both kinds: they arrive
// built anew, with the same tags.
func TestInlineVLAN(t *testing.T) {
	l := up(t, lab.Options{Inline: true, NoOffloads: true})
	start(t, l, wire("arp, tcp"))
	sender := must(l.Client.RawSender(lab.EndInterface))(t)
	t.Cleanup(func() { check(t, sender.Close()) })
	capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	var out packet.Out
	out.SetEthernet(packet.Ethernet{Src: packet.MAC(must(l.Client.MAC(""))(t)), Dst: packet.MAC(must(l.Server.MAC(""))(t))})
	out.SetIPv4(packet.IPv4{TTL: 64, ID: 9, DF: true, Src: l.Client.IPv4, Dst: l.Server.IPv4})
	out.SetTCP(packet.TCP{SrcPort: 40000, DstPort: 80, Flags: packet.SYN})
	for _, tags := range [][]packet.VLANTag{
		{{TPID: packet.EtherTypeVLAN, VID: 7, PCP: 5}},
		{{TPID: packet.EtherTypeQinQ, VID: 8}, {TPID: packet.EtherTypeVLAN, VID: 9, DEI: true}},
	} {
		out.SetVLANs(tags...)
		sent := must(out.Encode(make([]byte, packet.MaxHeaders)))(t)
		if err := sender.Send(sent); err != nil {
			t.Fatal(err)
		}
		front := packet.EthernetLen + len(tags)*packet.VLANLen
		frame := must(capture.Wait(within(t, patience), func(f lab.Frame) bool { return !f.Outgoing && bytes.HasPrefix(f.Data, sent[:front]) }))(t)
		if id := frame.Data[front+4 : front+6]; !bytes.Equal(id, []byte{0, 0}) || len(frame.Data) < 60 {
			t.Errorf("%v: not built anew: %x", tags, frame.Data)
		}
	}
	must(capture.Stop())(t)
}

// TestInlineClosed: without the daemon nothing passes, and the proxy host neither
// hears nor says anything, even where its ports have addresses.
func TestInlineClosed(t *testing.T) {
	need(t, "ip")
	l := up(t, lab.Options{Inline: true})
	p := port(t, web(t, l.Server).Addr)
	if r := execute(t, l.Proxy, "ip", "addr", "add", "10.77.0.9/24", "dev", lab.ClientInterface); r.status != 0 {
		t.Fatal(r)
	}
	silent := func(when string) {
		t.Helper()
		capture := must(l.Client.Capture(lab.CaptureOptions{}))(t)
		if c, err := l.Client.Dial(within(t, refusedWithin), "tcp4", net.JoinHostPort("10.77.0.9", "9")); err == nil || strings.Contains(err.Error(), "refused") {
			if c != nil {
				c.Close()
			}
			t.Errorf("%s: the proxy host answers: %v", when, err)
		}
		must(capture.Stop())(t)
		for _, f := range capture.Frames() {
			if !f.Outgoing && bytes.Equal(f.Data[6:12], []byte{0x02, 0x77, 0, 0, 1, 1}) {
				t.Errorf("%s: the proxy host says %x", when, f.Data)
			}
		}
	}
	shut := func(when string) {
		t.Helper()
		if c, err := l.Client.Dial(within(t, refusedWithin), "tcp4", hostPort(l.Server, "tcp4", p)); err == nil {
			c.Close()
			t.Errorf("%s: the server accepts connections", when)
		}
	}
	shut("before the daemon")
	d := start(t, l, wire("arp, tcp"))
	silent("while the daemon runs")
	must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], p, 1000)))(t)
	if r := run(t, l.Proxy, "unblock"); r.status == 0 {
		t.Errorf("unblock while the daemon runs: %v", r)
	}
	d.kill(t)
	silent("after the kill")
	shut("after the kill")
	if r := run(t, l.Proxy, "unblock"); r.status != 0 || !strings.Contains(r.out, lab.ClientInterface) {
		t.Errorf("unblock: %v", r)
	}
	start(t, l, wire("arp, tcp"))
	must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], p, 1000)))(t)
}

// TestInlineLink takes an interface down and away under the daemon; when it is
// back, frames pass again.
func TestInlineLink(t *testing.T) {
	need(t, "ip")
	l := up(t, lab.Options{Inline: true})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, wire("arp, tcp"))
	ip := func(args ...string) {
		t.Helper()
		if r := execute(t, l.Proxy, "ip", args...); r.status != 0 {
			t.Fatal(r)
		}
	}
	passes := func(when string) {
		t.Helper()
		eventually(t, when, func() (bool, string) {
			c, err := l.Client.Dial(within(t, refusedWithin), "tcp4", hostPort(l.Server, "tcp4", p))
			if err != nil {
				return false, err.Error()
			}
			return c.Close() == nil, ""
		})
	}
	said := func(text string) {
		t.Helper()
		eventually(t, text, func() (bool, string) { return strings.Contains(d.Log(), text), d.Log() })
	}
	passes("at the start")
	ip("link", "set", lab.ServerInterface, "down")
	said("port " + lab.ServerInterface + " is down")
	ip("link", "set", lab.ServerInterface, "up")
	passes("after down and up")
	// An interface of another name takes the place that the first one leaves.
	ip("link", "set", lab.ServerInterface, "down")
	ip("link", "set", lab.ServerInterface, "name", "away")
	said("port " + lab.ServerInterface + " is gone")
	ip("link", "set", "away", "name", lab.ServerInterface)
	passes("after gone and back")
	seen := uint64(0)
	for _, q := range d.accounted(t).Sources {
		if q.Name == "inline "+lab.ServerInterface {
			seen = q.Received
		}
	}
	if seen == 0 {
		t.Error("no frames are counted at the server's port")
	}
}

// TestInlineReload takes a pair away and brings it back under a running daemon.
func TestInlineReload(t *testing.T) {
	l := up(t, lab.Options{Inline: true})
	p := port(t, web(t, l.Server).Addr)
	d := start(t, l, wire("arp, tcp"))
	reload := func(configuration string) {
		t.Helper()
		d.configure(t, configuration)
		if r := run(t, l.Proxy, "reload", "--control", d.Control); r.status != 0 {
			t.Fatal(r)
		}
	}
	must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], p, 1000)))(t)
	reload(empty)
	if c, err := l.Client.Dial(within(t, refusedWithin), "tcp4", hostPort(l.Server, "tcp4", p)); err == nil {
		c.Close()
		t.Error("without the pair the server accepts connections")
	}
	for _, q := range d.accounted(t).Sources {
		if strings.HasPrefix(q.Name, "inline") {
			t.Errorf("%s is still there", q.Name)
		}
	}
	reload(wire("arp, tcp"))
	must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], p, 1000)))(t)
	reload(wire("arp, tcp") + "    mode: strict\n")
	must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], p, 1000)))(t)
	d.configure(t, strings.ReplaceAll(wire("arp, tcp"), lab.ServerInterface, "nosuch0"))
	if r := run(t, l.Proxy, "reload", "--control", d.Control); r.status == 0 || !strings.Contains(r.errors, "nosuch0") {
		t.Errorf("a pair that is not there: %v", r)
	}
	must(l.Client.Download(within(t, patience), dataURL(l.Server, families[0], p, 1000)))(t)
}
