package e2e

import (
	"io"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/lab/proof"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf/ppftest"
)

// TestContradiction lets a hostile client say two things with the same sequence
// numbers, before and behind a gap: a real server reads what came first, and only
// that arrives. Its own kernel knows nothing of the address that it uses.
func TestContradiction(t *testing.T) {
	l := up(t, lab.Options{})
	server := must(l.Server.Listen(t.Context(), "tcp4", l.Server.IPv4.String()+":0"))(t)
	t.Cleanup(func() { check(t, server.Close()) })
	to := netip.MustParseAddrPort(server.Addr().String())
	from := netip.AddrPortFrom(l.Client.IPv4.Next().Next().Next(), 4321)
	own := must(l.Client.MAC(lab.EndInterface))(t)
	hop := must(l.NextHopMAC(l.Client))(t)
	check(t, l.Proxy.Do(func() error {
		link, err := netlink.LinkByName(lab.ClientInterface)
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: unix.NUD_PERMANENT, IP: from.Addr().AsSlice(), HardwareAddr: own})
	}))
	d := withServer(t, l, "forward", to.Port(), "")
	raw := must(l.Client.RawSender(lab.EndInterface))(t)
	t.Cleanup(func() { check(t, raw.Close()) })
	answers := must(l.Client.Capture(lab.CaptureOptions{}))(t)
	arrived := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	const iss = 1000
	ack := packet.Seq(0)
	send := func(flags packet.TCPFlags, at uint32, data string) {
		t.Helper()
		h := packet.TCP{Seq: packet.Seq(iss).Add(at), Ack: ack, Flags: flags, Window: 0xffff}
		ip := ppftest.Segment{Src: from, Dst: to, TCP: h, Payload: []byte(data), IP: packet.IPv4{DF: true}}.Bytes(t)
		check(t, raw.Send(slices.Concat(hop, own, []byte{8, 0}, ip)))
	}
	// answer waits for a segment of the server's that acknowledges so many bytes.
	answer := func(n uint32) *layers.TCP {
		t.Helper()
		var seg *layers.TCP
		must(answers.Wait(within(t, patience), func(f lab.Frame) bool {
			seg, _ = gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
			return seg != nil && !f.Outgoing && seg.DstPort == layers.TCPPort(from.Port()) && seg.Ack == iss+n
		}))(t)
		return seg
	}
	send(packet.SYN, 0, "")
	ack = packet.Seq(answer(1).Seq).Add(1)
	send(packet.ACK, 1, "")
	send(packet.ACK, 1+4, "EFGH") // behind a gap
	send(packet.ACK, 1+2, "cdxxxx")
	send(packet.ACK, 1, "ABCDxxxxIJ")
	answer(1 + 10)
	send(packet.ACK, 1+2, "yyyyyyyyKL")
	send(packet.ACK|packet.FIN, 1+12, "")
	answer(1 + 13)
	conn := must(server.Accept())(t)
	t.Cleanup(func() { check(t, conn.Close()) })
	if got := string(must(io.ReadAll(conn))(t)); got != "ABcdEFGHIJKL" {
		t.Errorf("the server read %q, want %q", got, "ABcdEFGHIJKL")
	}
	must(arrived.Stop())(t)
	must(answers.Stop())(t)
	for _, v := range must(proof.Packets(t.Context(), arrived.Frames(), lab.KindDFIDCount))(t) {
		t.Error(v)
	}
	if list := d.reasons(t); !slices.ContainsFunc(list, func(r reason) bool { return r.Reason == "tcp.retransmit-rewritten" && r.Action == "repair" }) {
		t.Errorf("nothing was rewritten: %+v", list)
	}
}
