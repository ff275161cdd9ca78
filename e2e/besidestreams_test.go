package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
)

// TestErrorsBesideStreams: an error that a client sends about a connection of a chain
// of packets reaches the server where streams to the same server end here.
func TestErrorsBesideStreams(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	echo := must(l.Server.StartEcho(t.Context(), "[::]:0"))(t)
	p := port(t, echo.Addr)
	d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: pages
    match: {protocol: tcp, server: [%[1]s, "%[2]s"], port: %[3]d}
    chain: [tcp, http]
  - name: server
    match: {server: [%[1]s, "%[2]s"]}
    others: refuse
    chain: [ip, icmp, udp, tcp]
`, l.Server.IPv4, l.Server.IPv6, p+1))
	atClient := must(l.Client.Capture(lab.CaptureOptions{}))(t)
	atServer := must(l.Server.Capture(lab.CaptureOptions{}))(t)
	c := must(l.Client.Dial(t.Context(), "tcp4", hostPort(l.Server, "tcp4", p)))(t)
	must(c.Write([]byte("hello")))(t)
	must(io.ReadFull(c, make([]byte, len("hello"))))(t)
	answer := must(atClient.Wait(within(t, patience), func(f lab.Frame) bool {
		ip, tcp, ok := segment(f.Data)
		return ok && !f.Outgoing && ip[0]>>4 == 4 && binary.BigEndian.Uint16(tcp) == p && len(tcp) > int(tcp[12]>>4)*4
	}))(t)
	quoted := slices.Clone(answer.Data[14 : 14+28])
	binary.BigEndian.PutUint32(quoted[24:], binary.BigEndian.Uint32(quoted[24:])+uint32(len("hello"))) // what comes next is on its way
	sender := must(l.Client.RawSender(""))(t)
	defer sender.Close()
	check(t, sender.Send(frame(t,
		&layers.Ethernet{SrcMAC: must(l.Client.MAC(""))(t), DstMAC: must(l.NextHopMAC(l.Client))(t), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: l.Client.IPv4.AsSlice(), DstIP: l.Server.IPv4.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort)},
		gopacket.Payload(quoted))))
	if _, err := atServer.Wait(within(t, patience), func(f lab.Frame) bool {
		icmp, ok := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && !f.Outgoing && icmp.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable
	}); err != nil {
		t.Errorf("%v; %+v", err, d.reasons(t))
	}
	must(atClient.Stop())(t)
	must(atServer.Stop())(t)
	check(t, c.Close())
	check(t, echo.Close())
	d.accounted(t)
}
