package igmp_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	_ "github.com/promethos/promethos/modules/builtin"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/ppf/ppftest"
)

var host = packet.MAC{2, 0, 0, 0, 0, 0xa}

// change is an edit of a good message before its checksums are made, or of the
// frame after that.
type change struct {
	ip4     func(*layers.IPv4)
	ip6     func(*layers.IPv6)
	message func([]byte) []byte
	frame   func([]byte)
}

// igmp builds a frame with a message of IGMP, whose checksum is filled in.
func igmp(t testing.TB, src, dst string, message []byte, c change) []byte {
	t.Helper()
	a := netip.MustParseAddr(dst).As4()
	eth := &layers.Ethernet{SrcMAC: host[:], DstMAC: []byte{1, 0, 0x5e, a[1] & 0x7f, a[2], a[3]}, EthernetType: layers.EthernetTypeIPv4}
	h := &layers.IPv4{
		Version: 4, TOS: 0xc0, TTL: 1, Protocol: layers.IPProtocolIGMP, SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: a[:],
		Options: []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}},
	}
	if c.ip4 != nil {
		c.ip4(h)
	}
	message = bytes.Clone(message)
	if c.message != nil {
		message = c.message(message)
	}
	if len(message) >= 8 {
		binary.BigEndian.PutUint16(message[2:], packet.SumBytes(message).Checksum())
	}
	return serialize(t, c, eth, h, gopacket.Payload(message))
}

// mld builds a frame with a message of MLD behind a router alert.
func mld(t testing.TB, src, dst string, message []byte, c change) []byte {
	t.Helper()
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	eth := &layers.Ethernet{SrcMAC: host[:], DstMAC: []byte{0x33, 0x33, d[12], d[13], d[14], d[15]}, EthernetType: layers.EthernetTypeIPv6}
	h := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolIPv6HopByHop, SrcIP: s[:], DstIP: d[:]}
	if c.ip6 != nil {
		c.ip6(h)
	}
	message = bytes.Clone(message)
	if c.message != nil {
		message = c.message(message)
	}
	if len(message) >= 8 {
		sum := packet.PseudoSum6(s, d, packet.ProtoICMPv6, len(message)).Add(packet.SumBytes(message))
		binary.BigEndian.PutUint16(message[2:], sum.Checksum())
	}
	return serialize(t, c, eth, h, gopacket.Payload(slices.Concat([]byte{58, 0, 5, 2, 0, 0, 1, 0}, message)))
}

func serialize(t testing.TB, c change, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	frame := b.Bytes()
	if c.frame != nil {
		c.frame(frame)
	}
	return frame
}

var (
	group4 = []byte{239, 1, 2, 3}
	group6 = netip.MustParseAddr("ff15::7").AsSlice()
	host6  = netip.MustParseAddr("2001:db8::9").AsSlice()
	none4  = make([]byte, 4)
	none6  = make([]byte, 16)

	query4  = slices.Concat([]byte{0x11, 100, 0, 0}, none4)
	query43 = slices.Concat([]byte{0x11, 100, 0, 0}, group4, []byte{0x0a, 125, 0, 1, 192, 0, 2, 9})
	join4   = slices.Concat([]byte{0x16, 0, 0, 0}, group4)
	leave4  = slices.Concat([]byte{0x17, 0, 0, 0}, group4)
	report4 = slices.Concat([]byte{0x22, 0, 0, 0, 0, 0, 0, 2, 4, 0, 0, 0}, group4, []byte{1, 0, 0, 1}, group4, []byte{192, 0, 2, 9})

	query6  = slices.Concat([]byte{130, 0, 0, 0, 0x27, 0x10, 0, 0}, none6)
	query62 = slices.Concat([]byte{130, 0, 0, 0, 0x27, 0x10, 0, 0}, group6, []byte{2, 125, 0, 1}, host6)
	join6   = slices.Concat([]byte{131, 0, 0, 0, 0, 0, 0, 0}, group6)
	done6   = slices.Concat([]byte{132, 0, 0, 0, 0, 0, 0, 0}, group6)
	report6 = slices.Concat([]byte{143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 1}, group6, host6)
)

const ours, local = "192.0.2.1", "fe80::a"

func set(i int, v byte) func([]byte) []byte {
	return func(b []byte) []byte {
		b[i] = v
		return b
	}
}

func longer(b []byte) []byte  { return append(b, 0xee, 0xee) }
func shorter(b []byte) []byte { return b[:len(b)-1] }

// TestMessages sends good messages and such with one fault across a wire. What
// passes is built anew: another decoder finds the message that was sent in it.
func TestMessages(t *testing.T) {
	for _, tt := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"query", igmp(t, ours, "224.0.0.1", query4, change{}), ""},
		{"query of a switch", igmp(t, "0.0.0.0", "224.0.0.1", query4, change{}), ""},
		{"query with sources", igmp(t, ours, "239.1.2.3", query43, change{}), ""},
		{"join", igmp(t, ours, "239.1.2.3", join4, change{}), ""},
		{"join of version 1", igmp(t, ours, "239.1.2.3", slices.Concat([]byte{0x12}, join4[1:]), change{}), ""},
		{"leave", igmp(t, ours, "224.0.0.2", leave4, change{}), ""},
		{"report", igmp(t, ours, "224.0.0.22", report4, change{}), ""},
		{"report without an address", igmp(t, "0.0.0.0", "224.0.0.22", report4, change{}), ""},
		{"padded report", igmp(t, ours, "224.0.0.22", report4, change{message: longer}), "igmp.trailing-removed"},
		{"report cut", igmp(t, ours, "224.0.0.22", report4, change{message: shorter}), "igmp.records"},
		{"more records than there are", igmp(t, ours, "224.0.0.22", report4, change{message: set(7, 3)}), "igmp.records"},
		{"record of no type", igmp(t, ours, "224.0.0.22", report4, change{message: set(8, 0)}), "igmp.records"},
		{"record of an unknown type", igmp(t, ours, "224.0.0.22", report4, change{message: set(8, 7)}), "igmp.records"},
		{"auxiliary data", igmp(t, ours, "224.0.0.22", report4, change{message: set(9, 1)}), "igmp.records"},
		{"record of no group", igmp(t, ours, "224.0.0.22", report4, change{message: set(12, 192)}), "igmp.records"},
		{"source that is a group", igmp(t, ours, "224.0.0.22", report4, change{message: set(24, 239)}), "igmp.records"},
		{"more sources than there are", igmp(t, ours, "239.1.2.3", query43, change{message: set(11, 2)}), "igmp.records"},
		{"reserved bits", igmp(t, ours, "239.1.2.3", query43, change{message: set(8, 0x1a)}), "igmp.records"},
		{"half a query", igmp(t, ours, "239.1.2.3", query43[:10], change{}), "igmp.version"},
		{"query of no group", igmp(t, ours, "239.1.2.3", query43, change{message: set(4, 192)}), "igmp.group"},
		{"join of no group", igmp(t, ours, "239.1.2.3", join4, change{message: set(4, 192)}), "igmp.group"},
		{"another type", igmp(t, ours, "239.1.2.3", join4, change{message: set(0, 0x13)}), "igmp.type"},
		{"too short", igmp(t, ours, "239.1.2.3", join4[:7], change{}), "igmp.truncated"},
		{"to another group", igmp(t, ours, "239.1.2.4", join4, change{}), "igmp.destination"},
		{"to one host", igmp(t, ours, "239.1.2.3", join4, change{frame: func(b []byte) { copy(b, host[:]) }}), "igmp.destination"},
		{"from a group", igmp(t, "239.1.1.1", "239.1.2.3", join4, change{}), "igmp.source"},
		{"from afar", igmp(t, ours, "239.1.2.3", join4, change{ip4: func(h *layers.IPv4) { h.TTL = 2 }}), "igmp.origin"},
		{"fragment", igmp(t, ours, "239.1.2.3", join4, change{ip4: func(h *layers.IPv4) { h.Flags = layers.IPv4MoreFragments }}), "igmp.origin"},
		{"wrong checksum", igmp(t, ours, "239.1.2.3", join4, change{frame: func(b []byte) { b[14+24+2]++ }}), "igmp.checksum"},

		{"MLD query", mld(t, local, "ff02::1", query6, change{}), ""},
		{"MLD query with sources", mld(t, local, "ff15::7", query62, change{}), ""},
		{"MLD join", mld(t, local, "ff15::7", join6, change{}), ""},
		{"MLD done", mld(t, local, "ff02::2", done6, change{}), ""},
		{"MLD report", mld(t, local, "ff02::16", report6, change{}), ""},
		{"MLD report without an address", mld(t, "::", "ff02::16", report6, change{}), ""},
		{"MLD padded", mld(t, local, "ff02::16", report6, change{message: longer}), "mld.trailing-removed"},
		{"MLD report cut", mld(t, local, "ff02::16", report6, change{message: shorter}), "mld.records"},
		{"MLD record of no group", mld(t, local, "ff02::16", report6, change{message: set(12, 0x20)}), "mld.records"},
		{"MLD source that is a group", mld(t, local, "ff02::16", report6, change{message: set(28, 0xff)}), "mld.records"},
		{"MLD half a query", mld(t, local, "ff15::7", query62[:26], change{}), "mld.version"},
		{"MLD without a group", mld(t, local, "ff15::7", join6[:20], change{}), "mld.version"},
		{"MLD join of no group", mld(t, local, "ff15::7", join6, change{message: set(8, 0x20)}), "mld.group"},
		{"MLD code", mld(t, local, "ff15::7", join6, change{message: set(1, 1)}), "mld.type"},
		{"MLD to another group", mld(t, local, "ff15::8", join6, change{}), "mld.destination"},
		{"MLD query without an address", mld(t, "::", "ff02::1", query6, change{}), "mld.source"},
		{"MLD from a global address", mld(t, "2001:db8::1", "ff15::7", join6, change{}), "mld.source"},
		{"MLD from afar", mld(t, local, "ff15::7", join6, change{ip6: func(h *layers.IPv6) { h.HopLimit = 2 }}), "mld.origin"},
		{"MLD wrong checksum", mld(t, local, "ff15::7", join6, change{frame: func(b []byte) { b[len(b)-1]++ }}), "icmp6.checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, reason := ppftest.NewWire(t, []string{"igmp", "mld", "ip", "nd", "icmp"}).Cross(ppf.InlineServer, tt.frame)
			repaired := tt.name == "padded report" || tt.name == "MLD padded"
			if reason != tt.want || (out == nil) != (tt.want != "" && !repaired) {
				t.Fatalf("%x, reason %q, want %q", out, reason, tt.want)
			}
			if out == nil {
				return
			}
			same(t, tt.frame, out, repaired)
		})
	}
}

// same wants the sent frame to say what the received one said, with a router alert,
// and good in the eyes of another decoder.
func same(t *testing.T, in, out []byte, repaired bool) {
	t.Helper()
	a, b := gopacket.NewPacket(in, layers.LayerTypeEthernet, gopacket.Default), gopacket.NewPacket(out, layers.LayerTypeEthernet, gopacket.Default)
	if !bytes.Equal(in[:12], out[:12]) {
		t.Errorf("the frame is from %x to %x", out[6:12], out[:6])
	}
	if h, ok := b.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
		was := a.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		alert := len(h.Options) == 1 && h.Options[0].OptionType == 148
		if h.TTL != 1 || alert == (h.Payload[0] == 0x12) || !h.SrcIP.Equal(was.SrcIP) || !h.DstIP.Equal(was.DstIP) {
			t.Errorf("IP header %+v", h)
		}
		if packet.SumBytes(h.Payload).Fold() != 0xffff || !repaired && !bytes.Equal(h.Payload[4:], was.Payload[4:]) || !bytes.HasPrefix(was.Payload[4:], h.Payload[4:]) {
			t.Errorf("message %x, want %x", h.Payload, was.Payload)
		}
		return
	}
	h, ok := b.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	hop, alert := b.Layer(layers.LayerTypeIPv6HopByHop).(*layers.IPv6HopByHop)
	icmp, good := b.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !ok || !alert || !good || h.HopLimit != 1 || len(hop.Options) == 0 || hop.Options[0].OptionType != 5 {
		t.Fatalf("%v", b)
	}
	was := a.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	// The checksum in front covers the addresses, which are as they were.
	if !repaired && !bytes.Equal(append(icmp.Contents, icmp.Payload...), append(was.Contents, was.Payload...)) {
		t.Errorf("message %x, want %x", icmp.Payload, was.Payload)
	}
}

// TestAllocs: nothing is allocated for a message.
func TestAllocs(t *testing.T) {
	for _, frame := range [][]byte{igmp(t, ours, "224.0.0.22", report4, change{}), mld(t, local, "ff02::16", report6, change{})} {
		b := ppftest.NewWire(t, []string{"igmp", "mld"})
		frames := fromServer(b, frame)
		if n := testing.AllocsPerRun(100, func() { b.Engine.Handlers()[0].Handle(frames) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		if frames[0].Action != ppf.Accept {
			t.Errorf("%+v", b.Engine.ReasonCounts())
		}
	}
}

// fromServer is a batch with a frame that came in at the server's port.
func fromServer(b *ppftest.Bench, frame []byte) []ppf.Frame {
	f := b.Frame(ppf.InlineServer, frame)
	f.Link, f.In, f.Out = packet.LinkEthernet, f.Out, f.In
	return []ppf.Frame{f}
}

func BenchmarkReport(b *testing.B) {
	frame := igmp(b, ours, "224.0.0.22", report4, change{})
	bench := ppftest.NewWire(b, []string{"igmp"})
	frames := fromServer(bench, frame)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		bench.Engine.Handlers()[0].Handle(frames)
	}
}
