package nfqueue

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// attribute writes one netlink attribute.
func attribute(kind uint16, value []byte) []byte {
	b := make([]byte, attrLen, attrLen+align4(len(value)))
	putAttr(b, kind, len(value))
	b = append(b, value...)
	return append(b, make([]byte, align4(len(value))-len(value))...)
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// packetHdr is struct nfqnl_msg_packet_hdr.
func packetHdr(id uint32, hook byte) []byte { return append(be32(id), 0x08, 0x00, hook) }

func message(attrs ...[]byte) []byte {
	return append(make([]byte, nfHeaderLen), bytes.Join(attrs, nil)...)
}

func TestParsePacket(t *testing.T) {
	payload := []byte{0x45, 1, 2, 3, 4}
	// What an earlier packet left behind must not show.
	f := ppf.Frame{Mark: 9, In: 9, Out: 9, HasMAC: true, CsumNotReady: true, GSO: true, WireLen: 9}
	err := parsePacket(message(
		attribute(attrPacketHdr, packetHdr(7, 2)), attribute(attrMark, be32(0x10)), attribute(attrInDev, be32(3)), attribute(attrOutDev, be32(4)),
		attribute(attrHWAddr, []byte{0, 6, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0}), attribute(attrSKBInfo, be32(skbGSO|skbCsumNotReady)),
		attribute(attrCapLen, be32(70000)), attribute(99, []byte("unknown")), attribute(attrPayload, payload),
	), &f)
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != 7 || f.Hook != ppf.Forward || f.Mark != 0x10 || f.In != 3 || f.Out != 4 || !f.HasMAC || f.SrcMAC != (packet.MAC{2, 0, 0, 0, 0, 1}) ||
		!f.GSO || !f.CsumNotReady || f.WireLen != 70000 || !bytes.Equal(f.Data, payload) {
		t.Errorf("got %+v", f)
	}
	if err := parsePacket(message(attribute(attrPacketHdr, packetHdr(8, 0)), attribute(attrPayload, payload)), &f); err != nil {
		t.Fatal(err)
	}
	if f.Hook != ppf.Prerouting || f.WireLen != 5 || f.HasMAC || f.GSO || f.CsumNotReady || f.In != 0 || f.Mark != 0 {
		t.Errorf("got %+v", f)
	}
}

func TestParsePacketMalformed(t *testing.T) {
	var f ppf.Frame
	for name, b := range map[string][]byte{
		"empty":                  nil,
		"no packet header":       message(attribute(attrPayload, []byte{1})),
		"short packet header":    message(attribute(attrPacketHdr, []byte{1, 2, 3})),
		"unknown hook":           message(attribute(attrPacketHdr, packetHdr(1, 5))),
		"hook 255":               message(attribute(attrPacketHdr, packetHdr(1, 255))),
		"attribute beyond end":   message([]byte{40, 0, 1, 0, 1, 2}),
		"attribute length 0":     message([]byte{0, 0, 1, 0}),
		"attribute shorter than": message([]byte{3, 0, 1, 0}),
	} {
		if err := parsePacket(b, &f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(message(attribute(attrPacketHdr, packetHdr(7, 2)), attribute(attrPayload, []byte{1, 2, 3})))
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame ppf.Frame
		if parsePacket(b, &frame) == nil && (frame.Hook == ppf.HookNone || len(frame.Data) > len(b)) {
			t.Errorf("%x: got %+v", b, frame)
		}
	})
}

// TestPutVerdict compares with messages written out by hand (little endian).
func TestPutVerdict(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("missing: a little-endian machine, for which the bytes are written")
	}
	tests := []struct {
		name  string
		frame ppf.Frame
		want  string
	}{
		{"drop", ppf.Frame{ID: 5, Action: ppf.Drop, Head: []byte{1}},
			"20000000 0103 0100 00000000 00000000 00 00 5050 0c00 0200 00000000 00000005"},
		{"accept", ppf.Frame{ID: 5, Action: ppf.Accept},
			"20000000 0103 0100 00000000 00000000 00 00 5050 0c00 0200 00000001 00000005"},
		{"accept, rebuilt", ppf.Frame{ID: 5, Action: ppf.Accept, Head: []byte{1, 2}, Body: []byte{3}},
			"28000000 0103 0100 00000000 00000000 00 00 5050 0c00 0200 00000001 00000005 0700 0a00"},
		{"queue", ppf.Frame{ID: 5, Action: ppf.Queue, Queue: 0x1234},
			"20000000 0103 0100 00000000 00000000 00 00 5050 0c00 0200 12340003 00000005"},
		{"repeat", ppf.Frame{ID: 5, Action: ppf.Repeat, Mark: 1},
			"28000000 0103 0100 00000000 00000000 00 00 5050 0c00 0200 00000004 00000005 0800 0300 80000001"},
		{"accept, judged", ppf.Frame{ID: 5, Action: ppf.Accept, Judged: true, Mark: 0x80000001},
			"28000000 0103 0100 00000000 00000000 00 00 5050 0c00 0200 00000001 00000005 0800 0300 40000001"},
		{"stolen is a drop", ppf.Frame{ID: 5, Action: ppf.Stolen},
			"20000000 0103 0100 00000000 00000000 00 00 5050 0c00 0200 00000000 00000005"},
	}
	for _, tt := range tests {
		b := bytes.Repeat([]byte{0xa5}, verdictRoom)
		got := putVerdict(b, 0x5050, &tt.frame, 0x80000000, 0x40000000)
		want, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(tt.want), []byte(" "), nil)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", tt.name, got, want)
		}
	}
}

func TestProcRow(t *testing.T) {
	table := []byte("    7   1234     5 2 65531    11    22       99  1\n20560 99999     0 2 65531     0     0        0  1\n")
	if row := procRow(table, 7); row == nil || row[1] != "1234" || row[2] != "5" || row[5] != "11" || row[6] != "22" {
		t.Errorf("row 7: %v", row)
	}
	if row := procRow(table, 20560); row == nil || row[1] != "99999" {
		t.Errorf("row 20560: %v", row)
	}
	if row := procRow(table, 5); row != nil {
		t.Errorf("row 5: %v", row)
	}
}

// TestMessageAllocations: reading a packet and writing its verdict allocate
// nothing.
func TestMessageAllocations(t *testing.T) {
	b := message(attribute(attrPacketHdr, packetHdr(7, 2)), attribute(attrPayload, make([]byte, 1400)))
	var f ppf.Frame
	fixed := make([]byte, verdictRoom)
	if n := testing.AllocsPerRun(100, func() {
		if parsePacket(b, &f) != nil {
			t.Error("refused")
		}
		f.Action, f.Head, f.Body = ppf.Accept, f.Buf[:40], f.Data
		putVerdict(fixed, 1, &f, 0, 0)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkMessage(b *testing.B) {
	msg := message(attribute(attrPacketHdr, packetHdr(7, 2)), attribute(attrInDev, be32(3)), attribute(attrSKBInfo, be32(0)), attribute(attrPayload, make([]byte, 1400)))
	var f ppf.Frame
	fixed := make([]byte, verdictRoom)
	b.ReportAllocs()
	for b.Loop() {
		if parsePacket(msg, &f) != nil {
			b.Fatal("refused")
		}
		f.Action, f.Head, f.Body = ppf.Accept, f.Buf[:40], f.Data
		putVerdict(fixed, 1, &f, 0, 0)
	}
}
