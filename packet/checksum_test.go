package packet

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// referenceSum is RFC 1071 §4.1, word by word.
func referenceSum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
		s = s>>16 + s&0xffff
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return uint16(s>>16 + s&0xffff)
}

func TestSumBytes(t *testing.T) {
	tests := []struct {
		name string
		data string
		want uint16
	}{
		{"empty", "", 0},
		{"RFC 1071 section 3", "0001 f203 f4f5 f6f7", 0xddf2},
		{"one byte", "12", 0x1200},
		{"carry that carries", "ffff 0001", 0x0001},
		{"all ones", "ffff ffff ffff ffff", 0xffff},
		{"IPv4 header with its checksum", "4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7", 0xffff},
		{"IPv4 header without its checksum", "4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7", 0x479e},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := SumBytes(unhex(t, tt.data)).Fold(); got != tt.want {
				t.Errorf("SumBytes(%s): got %04x, want %04x", tt.data, got, tt.want)
			}
		})
	}
}

// TestSumBytesLengths compares every way through the loops with the reference.
func TestSumBytesLengths(t *testing.T) {
	patterns := map[string]func(i int) byte{
		"mixed": func(i int) byte { return byte(i*31 + 7) },
		"ones":  func(int) byte { return 0xff },
		"zero":  func(int) byte { return 0 },
		"high":  func(i int) byte { return 0xff - byte(i&1) },
	}
	for name, at := range patterns {
		b := make([]byte, 3*worthVectors)
		for i := range b {
			b[i] = at(i)
		}
		for start := range 9 {
			for n := 0; start+n <= len(b); n++ {
				data := b[start : start+n]
				if got, want := SumBytes(data).Fold(), referenceSum(data); got != want {
					t.Fatalf("%s: SumBytes of %d bytes from %d: got %04x, want %04x", name, n, start, got, want)
				}
			}
		}
	}
}

func TestSumCombines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "b")
		cut := rapid.IntRange(0, len(b)).Draw(t, "cut")
		want := referenceSum(b)
		got := SumBytes(b[:cut]).AddAt(cut, SumBytes(b[cut:])).Fold()
		if got != want {
			t.Fatalf("sum of %x cut at %d: got %04x, want %04x", b, cut, got, want)
		}
	})
}

func TestPseudoSums(t *testing.T) {
	src4, dst4 := client4.As4(), server4.As4()
	header4 := append(append(src4[:], dst4[:]...), 0, byte(ProtoTCP), 0x12, 0x34)
	if got, want := PseudoSum4(src4, dst4, ProtoTCP, 0x1234).Fold(), referenceSum(header4); got != want {
		t.Errorf("PseudoSum4: got %04x, want %04x", got, want)
	}
	src6, dst6 := client6.As16(), server6.As16()
	header6 := append(append(src6[:], dst6[:]...), 0, 1, 0x12, 0x34, 0, 0, 0, byte(ProtoUDP))
	if got, want := PseudoSum6(src6, dst6, ProtoUDP, 0x11234).Fold(), referenceSum(header6); got != want {
		t.Errorf("PseudoSum6: got %04x, want %04x", got, want)
	}
}

// TestUpdateRFC1624 is the example of RFC 1624 §4, where equation 2 fails.
func TestUpdateRFC1624(t *testing.T) {
	if got := Update16(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Errorf("Update16(dd2f, 5555, 3285): got %04x, want 0000", got)
	}
}

func TestUpdateIsRecomputation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 20, 60).Draw(t, "b")
		b = b[:len(b)&^3]
		b[0] |= 1 // an all-zero header has two checksums that are right
		before := SumBytes(b).Checksum()
		i := 4 * rapid.IntRange(1, len(b)/4-1).Draw(t, "word")
		word := rapid.Uint32().Draw(t, "new")
		old := binary.BigEndian.Uint32(b[i:])
		binary.BigEndian.PutUint32(b[i:], word)
		want := SumBytes(b).Checksum()
		if got := Update32(before, old, word); got != want {
			t.Fatalf("Update32(%04x, %08x, %08x): got %04x, want %04x", before, old, word, got, want)
		}
		twice := Update16(Update16(before, uint16(old>>16), uint16(word>>16)), uint16(old), uint16(word))
		if twice != want {
			t.Fatalf("Update16 twice: got %04x, want %04x", twice, want)
		}
	})
}

func TestSumBytesDoesNotAllocate(t *testing.T) {
	b := testPayload(1461)
	wantNoAllocs(t, "SumBytes", func() { SumBytes(b) })
}

func BenchmarkSumBytes(b *testing.B) {
	for _, n := range []int{20, 40, 1460, 65000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := testPayload(n)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				SumBytes(data)
			}
		})
	}
}
