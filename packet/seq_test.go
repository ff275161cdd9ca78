package packet

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSeq(t *testing.T) {
	tests := []struct {
		a, b   Seq
		before bool
		diff   int32
	}{
		{0, 0, false, 0},
		{0, 1, true, -1},
		{1, 0, false, 1},
		{0xffffffff, 0, true, -1},
		{0, 0xffffffff, false, 1},
		{0xfffffff0, 0x10, true, -0x20},
		{0, 0x7fffffff, true, -0x7fffffff},
		{0x7fffffff, 0xfffffffe, true, -0x7fffffff},
		{0, 0x80000000, true, -0x80000000},
		{0x80000000, 0, true, -0x80000000},
	}
	for _, tt := range tests {
		if got := tt.a.Before(tt.b); got != tt.before {
			t.Errorf("%#x.Before(%#x): got %v", uint32(tt.a), uint32(tt.b), got)
		}
		if got := tt.b.After(tt.a); got != tt.before {
			t.Errorf("%#x.After(%#x): got %v", uint32(tt.b), uint32(tt.a), got)
		}
		if got := tt.a.Diff(tt.b); got != tt.diff {
			t.Errorf("%#x.Diff(%#x): got %d, want %d", uint32(tt.a), uint32(tt.b), got, tt.diff)
		}
	}
}

func TestSeqInWindow(t *testing.T) {
	tests := []struct {
		s, start Seq
		size     uint32
		want     bool
	}{
		{5, 5, 0, false},
		{5, 5, 1, true},
		{6, 5, 1, false},
		{4, 5, 10, false},
		{2, 0xfffffffe, 5, true},
		{3, 0xfffffffe, 5, false},
		{0xfffffffd, 0xfffffffe, 5, false},
	}
	for _, tt := range tests {
		if got := tt.s.InWindow(tt.start, tt.size); got != tt.want {
			t.Errorf("%d.InWindow(%d, %d): got %v, want %v", tt.s, tt.start, tt.size, got, tt.want)
		}
	}
}

func TestSeqProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Seq(rapid.Uint32().Draw(t, "s"))
		n := rapid.Uint32Range(1, 1<<31-1).Draw(t, "n")
		next := s.Add(n)
		if !s.Before(next) || next.Before(s) || !next.After(s) || next.Diff(s) != int32(n) || s.Diff(next) != -int32(n) {
			t.Fatalf("%d and the number %d behind it, %d, are out of order", s, n, next)
		}
		if !s.Add(n-1).InWindow(s, n) || next.InWindow(s, n) {
			t.Fatalf("window of %d from %d", n, s)
		}
	})
}
