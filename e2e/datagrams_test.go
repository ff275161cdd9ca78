package e2e

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/promethos/promethos/lab"
)

// datagrams starts the program with the UDP of the lab's server behind udp.
func datagrams(t *testing.T, l *lab.Lab, hook string) *daemon {
	t.Helper()
	return start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: udp
    hook: %s
    match: {protocol: udp, server: [%s, "%s"]}
    chain: [udp]
`, hook, l.Server.IPv4, l.Server.IPv6))
}

// TestDatagrams sends datagrams of many sizes to a real kernel and back, every
// one of them accounted for.
func TestDatagrams(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	for _, hook := range transitHooks {
		for _, f := range families {
			t.Run(hook+"/"+f.name, func(t *testing.T) {
				d := datagrams(t, l, hook)
				s := must(l.Server.StartUDPEcho(t.Context(), hostPort(l.Server, f.network, 0)))(t)
				defer s.Close()
				for _, size := range []int{24, 56, 512, 1232, 1400} {
					r := must(l.Client.UDPEcho(within(t, patience), hostPort(l.Server, f.network, port(t, s.Addr)), lab.EchoOptions{Count: 20, Size: size}))(t)
					if r.Received != r.Sent {
						t.Errorf("%d bytes: %d of %d came back", size, r.Received, r.Sent)
					}
				}
				d.accounted(t)
			})
		}
	}
}

// TestDatagramRefused: that nobody listens at the server comes to a program on
// the client as it does without the proxy.
func TestDatagramRefused(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	for _, hook := range transitHooks {
		for _, f := range families {
			t.Run(hook+"/"+f.name, func(t *testing.T) {
				d := datagrams(t, l, hook)
				c := must(l.Client.Dial(within(t, patience), "udp"+f.network[3:], hostPort(l.Server, f.network, 9)))(t)
				defer c.Close()
				must(c.Write([]byte("anybody?")))(t)
				check(t, c.SetReadDeadline(time.Now().Add(patience)))
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("got %v, want refused; %+v", err, d.reasons(t))
				}
				d.accounted(t)
			})
		}
	}
}

// TestDatagramErrors: a path that is too narrow, and a hop limit that ends at
// the proxy host, become known to the client.
func TestDatagramErrors(t *testing.T) {
	for _, hook := range transitHooks {
		for _, f := range families {
			t.Run(hook+"/"+f.name, func(t *testing.T) {
				l := up(t, lab.Options{NoOffloads: true}) // kernels remember what they learnt
				d := datagrams(t, l, hook)
				narrow(t, l, lab.ServerInterface, 1300)
				sender := must(l.Client.RawSender(""))(t)
				defer sender.Close()
				for _, probe := range []struct {
					name  string
					hops  uint8
					size  int
					found func([]byte) bool
				}{{"too big", 64, 1400, tooBig}, {"expired", 1, 8, exceeded}} {
					capture := must(l.Client.Capture(lab.CaptureOptions{}))(t)
					check(t, sender.Send(probing(t, l, f, probe.hops, probe.size)))
					_, err := capture.Wait(within(t, patience), func(frame lab.Frame) bool { return !frame.Outgoing && probe.found(frame.Data) })
					must(capture.Stop())(t)
					if err != nil {
						t.Errorf("%s: no error reached the client: %v; %+v", probe.name, err, d.reasons(t))
					}
				}
				d.accounted(t)
			})
		}
	}
}

// probing is a datagram from the client.
func probing(t *testing.T, l *lab.Lab, f family, hops uint8, size int) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: strangerPort, DstPort: 33434}
	ether := &layers.Ethernet{SrcMAC: must(l.Client.MAC(""))(t), DstMAC: must(l.NextHopMAC(l.Client))(t), EthernetType: layers.EthernetTypeIPv4}
	from, to := l.Client.Addr(f.network), l.Server.Addr(f.network)
	if from.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: hops, Protocol: layers.IPProtocolUDP, Flags: layers.IPv4DontFragment, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		check(t, udp.SetNetworkLayerForChecksum(ip))
		return frame(t, ether, ip, udp, gopacket.Payload(make([]byte, size)))
	}
	ether.EthernetType = layers.EthernetTypeIPv6
	ip := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	check(t, udp.SetNetworkLayerForChecksum(ip))
	return frame(t, ether, ip, udp, gopacket.Payload(make([]byte, size)))
}

// tooBig finds what says that a link is too narrow.
func tooBig(data []byte) bool {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		return icmp.TypeCode == layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded) && icmp.Seq == 1300
	}
	icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	return ok && icmp.TypeCode.Type() == layers.ICMPv6TypePacketTooBig
}

// TestEchoes pings a real kernel through the whole chain, every message
// accounted for.
func TestEchoes(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: all
    hook: forward
    match: {server: [%s, "%s"]}
    chain: [ip, icmp, udp, tcp]
`, l.Server.IPv4, l.Server.IPv6))
			for _, size := range []int{56, 1400} {
				r := must(l.Client.Ping(within(t, patience), l.Server.Addr(f.network), lab.EchoOptions{Count: 20, Size: size}))(t)
				if r.Received != r.Sent {
					t.Errorf("%d bytes: %d of %d came back; %+v", size, r.Received, r.Sent, d.reasons(t))
				}
			}
			d.accounted(t)
			if n := len(d.reasons(t)); n > 0 {
				t.Errorf("something was dropped or repaired: %+v", d.reasons(t))
			}
		})
	}
}

// TestDatagramAttacks sends the lab's attacks on UDP and ICMP at a server behind
// the whole chain.
func TestDatagramAttacks(t *testing.T) {
	l := up(t, lab.Options{NoOffloads: true})
	env := must(l.AttackEnv(port(t, web(t, l.Server).Addr)))(t)
	d := start(t, l, fmt.Sprintf(`version: 1
instances:
  - name: all
    hook: forward
    match: {server: [%s, "%s"]}
    chain: [ip, icmp, udp, tcp]
`, l.Server.IPv4, l.Server.IPv6))
	list := attacksOn("udp", "icmp")
	for name, outcome := range attack(t, l, env, list, d.judged(t, list)) {
		if outcome == lab.Arrived {
			t.Errorf("%s arrived; %+v", name, d.reasons(t))
		}
	}
	d.accounted(t)
	for _, a := range list {
		if d.counted(t, a.Reason) == 0 {
			t.Errorf("%s: reason %s is not counted; %+v", a.Name, a.Reason, d.reasons(t))
		}
	}
}
