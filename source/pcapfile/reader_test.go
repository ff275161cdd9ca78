package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/promethos/promethos/pcapng"
)

// readAll reads a file to its end; data is copied.
func readAll(b []byte) (list []Record, f *Reader, err error) {
	f, err = NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, f, err
	}
	for {
		r, err := f.Next()
		if errors.Is(err, io.EOF) {
			return list, f, nil
		}
		if err != nil {
			return list, f, err
		}
		r.Data = bytes.Clone(r.Data)
		list = append(list, r)
	}
}

// rewrite writes what was read, with a comment.
func rewrite(t *testing.T, list []Record, like *Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, like)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if err := w.Write(r, "a comment"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// oracle reads a file with somebody else's reader.
func oracle(t *testing.T, b []byte) (list []gopacket.CaptureInfo, data [][]byte) {
	t.Helper()
	var next func() ([]byte, gopacket.CaptureInfo, error)
	if binary.BigEndian.Uint32(b) == pcapng.BlockSection {
		f, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal(err)
		}
		next = f.ReadPacketData
	} else {
		f, err := pcapgo.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		next = f.ReadPacketData
	}
	for {
		d, info, err := next()
		if errors.Is(err, io.EOF) {
			return list, data
		}
		if err != nil {
			t.Fatal(err)
		}
		list, data = append(list, info), append(data, d)
	}
}

// sameAs compares what was read with what the oracle reads.
func sameAs(t *testing.T, got []Record, b []byte) {
	t.Helper()
	infos, data := oracle(t, b)
	if len(got) != len(infos) {
		t.Fatalf("%d packets, the oracle reads %d", len(got), len(infos))
	}
	for i, r := range got {
		if r.Time != infos[i].Timestamp.UnixNano() || r.WireLen != infos[i].Length || !bytes.Equal(r.Data, data[i]) {
			t.Errorf("packet %d: time %d, %d bytes of %d; the oracle reads %d, %d of %d", i+1, r.Time, len(r.Data), r.WireLen,
				infos[i].Timestamp.UnixNano(), len(data[i]), infos[i].Length)
		}
	}
}

func TestReader(t *testing.T) {
	packets := timed(conversation(t, false)...)
	packets[3].wireLen = 900
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := k.file(LinkRaw, packets...)
			got, f, err := readAll(b)
			if err != nil {
				t.Fatal(err)
			}
			sameAs(t, got, b)
			for i, r := range got {
				if r.Time != packets[i].time || r.WireLen != int(packets[i].wire()) || r.Link != LinkRaw {
					t.Errorf("packet %d: %+v, want %+v", i+1, r, packets[i])
				}
			}
			// Written again it is the same to both readers.
			again := rewrite(t, got, f)
			sameAs(t, got, again)
			if second, _, err := readAll(again); err != nil || len(second) != len(got) {
				t.Errorf("read again: %d packets, %v", len(second), err)
			}
		})
	}
}

// TestPcapng reads what only that format has.
func TestPcapng(t *testing.T) {
	le, be := kinds[4], kinds[6]
	ip := conversation(t, false)[0]
	p := captured{time: start, data: ip}
	seconds := le.option(pcapng.OptionTimeBase, binary.LittleEndian.AppendUint64(nil, 1_000_000_000))
	b := slices.Concat(
		le.header(), le.block(0x0bad, []byte{1, 2, 3, 4}), // a block that nobody knows
		le.iface(LinkRaw, le.option(pcapng.OptionTimeUnit, []byte{0x80 | 10}), seconds), // 1/1024 s since a later time
		le.iface(LinkEthernet),
		le.enhanced(0, 1024+512, p, le.option(pcapng.OptionFlags, []byte{2, 0, 0, 0})),
		le.enhanced(1, 7, captured{data: behind(LinkEthernet, binary.LittleEndian, ip)}),
		le.block(blockSimple, le.words(uint32(len(ip))), ip),
		le.block(blockObsolete, []byte{1, 0, 0, 0}, le.words(0, 9, uint32(len(ip)), uint32(len(ip))), ip),
		be.header(), be.iface(LinkRaw), be.enhanced(0, 5, p), // a second section, of another machine
	)
	got, f, err := readAll(b)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		time  int64
		link  LinkType
		iface int
		flags uint32
	}
	want := []row{{1_000_000_001_500_000_000, LinkRaw, 0, 2}, {7000, LinkEthernet, 1, 0}, {0, LinkRaw, 0, 0}, {9000, LinkEthernet, 1, 0}, {5000, LinkRaw, 2, 0}}
	var rows []row
	for _, r := range got {
		rows = append(rows, row{r.Time, r.Link, r.Interface, r.Flags})
	}
	if !slices.Equal(rows, want) {
		t.Errorf("got %+v, want %+v", rows, want)
	}
	if n := len(f.Interfaces()); n != 3 {
		t.Errorf("%d interfaces, want 3", n)
	}
}

// TestCutFile wants every beginning of a file to be told from a whole one.
func TestCutFile(t *testing.T) {
	packets := timed(conversation(t, false)[:2]...)
	for _, k := range kinds {
		b := k.file(LinkRaw, packets...)
		whole := map[int]bool{len(b): true}
		for n := range packets {
			whole[len(k.file(LinkRaw, packets[:n]...))] = true
		}
		if k.ng {
			whole[len(k.header())] = true
		}
		for n := range len(b) + 1 {
			_, _, err := readAll(b[:n])
			var format *FormatError
			switch {
			case whole[n] && err != nil:
				t.Errorf("%s: the first %d of %d bytes: %v", k.name, n, len(b), err)
			case !whole[n] && (!errors.As(err, &format) || format.Offset > int64(n)):
				t.Errorf("%s: the first %d of %d bytes: %v, want where it ends", k.name, n, len(b), err)
			}
		}
	}
}

func TestBrokenFile(t *testing.T) {
	k := kinds[4]
	p := captured{time: start, data: []byte{0x45, 0, 0, 0}}
	head := slices.Concat(k.header(), k.iface(LinkRaw))
	tests := []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"text", []byte("hello, world"), "68656c6c"},
		{"another magic", []byte{0xa1, 0xb2, 0xcd, 0x34, 0, 0, 0, 0}, "neither pcap nor pcapng"},
		{"version", append([]byte{0xd4, 0xc3, 0xb2, 0xa1, 9, 0}, make([]byte, 18)...), "version 9"},
		{"link type", kinds[0].file(147), "link type 147"},
		{"huge packet", append(kinds[0].file(LinkRaw), kinds[0].words(1, 1, 1<<30, 1<<30)...), "byte 24, after packet 0"},
		{"wire length", append(kinds[0].file(LinkRaw), kinds[0].words(1, 1, 4, 1<<30)...), "claims"},
		{"byte order", append(k.header()[:8], make([]byte, 20)...), "byte-order magic"},
		{"block length", slices.Concat(head, k.words(pcapng.BlockPacket, 9)), "a block of 9 bytes"},
		{"huge block", slices.Concat(head, k.words(pcapng.BlockPacket, 0xfffffff0)), "a block of 4294967280 bytes"},
		{"lengths differ", append(slices.Concat(head, k.enhanced(0, 1, p))[:len(head)+32], 9, 0, 0, 0), "lengths differ"},
		{"unknown interface", slices.Concat(head, k.enhanced(3, 1, p)), "interface 3"},
		{"data beyond the block", slices.Concat(head, k.block(pcapng.BlockPacket, k.words(0, 0, 0, 400, 400))), "room for 0"},
		{"option beyond the block", slices.Concat(k.header(), k.iface(LinkRaw, []byte{2, 0, 44, 0})), "option 2"},
		{"time unit", slices.Concat(k.header(), k.iface(LinkRaw, k.option(pcapng.OptionTimeUnit, []byte{77}))), "option 9"},
		{"simple without interface", slices.Concat(k.header(), k.block(blockSimple, k.words(4, 4))), "after 0 interfaces"},
	}
	for _, tt := range tests {
		_, _, err := readAll(tt.b)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// FuzzReader wants what can be read to be written and read again.
func FuzzReader(f *testing.F) {
	for _, k := range kinds {
		f.Add(k.file(LinkEthernet, timed([]byte("0123456789"), nil)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, r, err := readAll(b)
		if err != nil {
			return
		}
		second, _, err := readAll(rewrite(t, got, r))
		if err != nil || len(second) != len(got) {
			t.Fatalf("%d packets, read again %d: %v", len(got), len(second), err)
		}
		for i, p := range got {
			if q := second[i]; !bytes.Equal(p.Data, q.Data) || p.Link != q.Link || p.WireLen != q.WireLen || p.Flags != q.Flags {
				t.Errorf("packet %d: %+v, read again %+v", i+1, p, q)
			}
		}
	})
}
