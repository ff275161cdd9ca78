package packet

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestNewReason(t *testing.T) {
	before := ReasonCount()
	first := NewReason("reason-test", ReasonInfo{Name: "reason-test.first", Class: Repaired, Field: "a.b", CVE: []string{"CVE-2020-24337"}})
	second := NewReason("reason-test", ReasonInfo{Name: "reason-test.second-1"})
	other := NewReason("reason-test-2", ReasonInfo{Name: "reason-test.other"})

	if first.Index() != before || second.Index() != before+1 || other.Index() != before+2 || ReasonCount() != before+3 {
		t.Errorf("indices %d %d %d, count %d; want %d and the next three", first.Index(), second.Index(), other.Index(), ReasonCount(), before)
	}
	if first>>16 != second>>16 || first>>16 == other>>16 || first>>16 == 0 {
		t.Errorf("modules of %#x %#x %#x: want the first two alike and the third another", uint32(first), uint32(second), uint32(other))
	}
	if got := first.Info(); got.Class != Repaired || got.Field != "a.b" || !slices.Equal(got.CVE, []string{"CVE-2020-24337"}) {
		t.Errorf("Info: got %+v", got)
	}
	if first.String() != "reason-test.first" {
		t.Errorf("String: got %q", first.String())
	}
	if r, ok := ReasonByName("reason-test.second-1"); !ok || r != second {
		t.Errorf("ReasonByName: got %v %v, want %v", r, ok, second)
	}
	if _, ok := ReasonByName("reason-test.missing"); ok {
		t.Error("ReasonByName finds a name that nobody registered")
	}
	all := Reasons()
	if len(all) != ReasonCount()-1 || !slices.Contains(all, other) {
		t.Errorf("Reasons: %d of %d, with other: %v", len(all), ReasonCount()-1, slices.Contains(all, other))
	}
	if !slices.IsSortedFunc(all, func(a, b Reason) int { return strings.Compare(a.String(), b.String()) }) {
		t.Error("Reasons is not sorted by name")
	}
}

func TestNewReasonPanics(t *testing.T) {
	NewReason("reason-test", ReasonInfo{Name: "reason-test.taken"})
	for _, name := range []string{
		"", "word", ".", "a.", ".a", "a..b", "Tcp.flags", "tcp.flags null", "tcp.flags_null", "tcp.-x", "tcp.x-", "tcp.ü", "reason-test.taken", "tcp.truncated",
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewReason(%q) does not panic", name)
				}
			}()
			NewReason("reason-test-3", ReasonInfo{Name: name})
		}()
	}
	if NewReason("reason-test-3", ReasonInfo{Name: "reason-test.after-panic"}) == ReasonNone {
		t.Error("the registry is unusable after a panic")
	}
}

func TestReasonNone(t *testing.T) {
	if ReasonNone.Index() != 0 || ReasonNone.String() != "none" {
		t.Errorf("ReasonNone: index %d, name %q", ReasonNone.Index(), ReasonNone)
	}
	for _, r := range []Reason{0xffffffff, 5, ReasonTCPTruncated + 1<<16} {
		if got := r.String(); got != "unregistered" {
			t.Errorf("Reason(%#x).String(): got %q, want unregistered", uint32(r), got)
		}
	}
}

// TestHammerReasons registers and reads at the same time; the race detector
// judges it.
func TestHammerReasons(t *testing.T) {
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 50 {
				r := NewReason("hammer", ReasonInfo{Name: "hammer." + string(rune('a'+i)) + "." + string(rune('a'+j/10)) + string(rune('a'+j%10))})
				if got, ok := ReasonByName(r.String()); !ok || got != r {
					t.Errorf("ReasonByName(%v): got %v %v", r, got, ok)
				}
			}
		})
		group.Go(func() {
			for range 50 {
				for _, r := range Reasons() {
					if r.Index() >= ReasonCount() || r.Info().Name == "" {
						t.Errorf("%#x: index %d of %d, name %q", uint32(r), r.Index(), ReasonCount(), r)
					}
				}
			}
		})
	}
	group.Wait()
}

// TestReasonDocs holds this package's own reasons to what `promethos reasons`
// shows of them.
func TestReasonDocs(t *testing.T) {
	cve := regexp.MustCompile(`^CVE-20\d\d-\d{4,5}$`)
	rfc := regexp.MustCompile(`^(\d{3,4}( §\d+(\.\d+)*)?)?$`)
	for _, r := range Reasons() {
		if r>>16 != ReasonTCPTruncated>>16 {
			continue
		}
		info := r.Info()
		if info.Doc == "" || info.Field == "" || info.Trips == "" || !rfc.MatchString(info.RFC) {
			t.Errorf("%s: doc %q, field %q, trips %q, RFC %q", r, info.Doc, info.Field, info.Trips, info.RFC)
		}
		if info.Class != Refused || info.Repairable {
			t.Errorf("%s: class %v, repairable %v; what a gate finds has no safe repair", r, info.Class, info.Repairable)
		}
		seen := map[string]bool{}
		for _, c := range info.CVE {
			if !cve.MatchString(c) || seen[c] {
				t.Errorf("%s: CVE number %q is malformed or stands twice", r, c)
			}
			seen[c] = true
		}
	}
}

func TestClassString(t *testing.T) {
	for c, want := range map[Class]string{Refused: "refused", Repaired: "repaired", Rewritten: "rewritten", 9: "class 9"} {
		if got := c.String(); got != want {
			t.Errorf("Class(%d).String(): got %q, want %q", uint8(c), got, want)
		}
	}
}

func TestReasonReadersDoNotAllocate(t *testing.T) {
	wantNoAllocs(t, "Info", func() { _ = ReasonTCPTruncated.Info().Class })
	wantNoAllocs(t, "Index", func() { _ = ReasonTCPTruncated.Index() })
}

func BenchmarkReasonInfo(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = ReasonTCPTruncated.Info()
	}
}
