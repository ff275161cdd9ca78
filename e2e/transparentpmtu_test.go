package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"

	"github.com/promethos/promethos/lab"
)

// TestTransparentPathMTU lets a router on the client's side say that a segment of ours
// does not fit: the kernel of the proxy has to learn it, though the address that the
// error is sent to is the server's.
func TestTransparentPathMTU(t *testing.T) {
	need(t, "nft")
	for _, firewall := range firewalls {
		for _, network := range []string{"tcp4", "tcp6"} {
			t.Run(firewall.String()+" "+network, func(t *testing.T) { pathMTU(t, firewall, network) })
		}
	}
}

func pathMTU(t *testing.T, firewall lab.FirewallKind, network string) {
	t.Helper()
	const mtu = 1300
	l := up(t, lab.Options{NoOffloads: true}) // of its own: kernels remember what they learnt
	p := port(t, web(t, l.Server).Addr)
	check(t, lab.Firewall(l.Proxy, firewall))
	start(t, l, ended(l.Server, p, "relay", ""))
	c := must(l.Client.Dial(within(t, patience), network, hostPort(l.Server, network, p)))(t)
	defer c.Close()
	// Acknowledgements get lost, so that what is quoted is on its way.
	rules := filepath.Join(t.TempDir(), "lost.nft")
	write(t, rules, "table inet lost {\n\tchain out {\n\t\ttype filter hook output priority 0\n\t\ttcp flags & (psh | syn | rst) == 0 drop\n\t}\n}\n")
	if r := execute(t, l.Client, "nft", "-f", rules); r.status != 0 {
		t.Fatal(r)
	}
	capture := must(l.Client.Capture(lab.CaptureOptions{}))(t)
	must(io.WriteString(c, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"))(t)
	answer, err := capture.Wait(within(t, patience), func(f lab.Frame) bool {
		_, tcp, ok := segment(f.Data)
		return ok && !f.Outgoing && len(tcp) > 100
	})
	check(t, err)
	must(capture.Stop())(t)
	ip, tcp, _ := segment(answer.Data)
	ethernet := &layers.Ethernet{SrcMAC: must(l.Client.MAC(""))(t), DstMAC: must(l.NextHopMAC(l.Client))(t), EthernetType: layers.EthernetTypeIPv4}
	list := []gopacket.SerializableLayer{ethernet,
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: l.Client.IPv4.AsSlice(), DstIP: l.Server.IPv4.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded), Seq: mtu},
		gopacket.Payload(append(append([]byte{}, ip[:20]...), tcp[:8]...))}
	if network == "tcp6" {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: l.Client.IPv6.AsSlice(), DstIP: l.Server.IPv6.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
		check(t, icmp.SetNetworkLayerForChecksum(ip6))
		list = []gopacket.SerializableLayer{ethernet, ip6, icmp, gopacket.Payload(append(binary.BigEndian.AppendUint32(nil, mtu), ip...))}
	}
	sender := must(l.Client.RawSender(""))(t)
	defer sender.Close()
	check(t, sender.Send(frame(t, list...)))
	eventually(t, "the path's MTU is known", func() (ok bool, text string) {
		check(t, l.Proxy.Do(func() error {
			r, err := netlink.RouteGet(l.Client.Addr(network).AsSlice())
			if err == nil {
				ok, text = r[0].MTU == mtu, fmt.Sprintf("it is %d, 0 for that of the interface", r[0].MTU)
			}
			return err
		}))
		return ok, text
	})
}
