package http

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWrittenDates: what is taken for a date as it is written is one that reading
// and printing leaves as it is.
func TestWrittenDates(t *testing.T) {
	const good = "Sun, 06 Nov 1994 08:49:37 GMT"
	canonical := func(b []byte) bool {
		at, ok := parseDate(b)
		return ok && at.Format(httpDateWritten) == string(b)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(time.Unix(rapid.Int64Range(-1<<35, 1<<37).Draw(t, "second"), 0).UTC().Format(httpDateWritten))
		if len(b) == len(good) && b[12] != '-' && !isWritten(b) {
			t.Fatalf("isWritten(%q): got false", b)
		}
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.SampledFrom([]byte("0123456789 :,SunMoTeWdThFriaJbMpyulgOcNvDGx\x00")).Draw(t, "octet")
		}
		if isWritten(b) && !canonical(b) {
			t.Fatalf("isWritten(%q): got true", b)
		}
	})
	for _, s := range []string{"", good[:28], good + " ", "Mon, 06 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT"} {
		if isWritten([]byte(s)) {
			t.Errorf("isWritten(%q): got true", s)
		}
	}
}

// TestDateOf: each second has its text.
func TestDateOf(t *testing.T) {
	for _, tt := range []struct {
		now  time.Duration
		want string
	}{
		{0, "Thu, 01 Jan 1970 00:00:00 GMT"}, {999 * time.Millisecond, "Thu, 01 Jan 1970 00:00:00 GMT"}, {time.Second, "Thu, 01 Jan 1970 00:00:01 GMT"},
	} {
		if got := dateOf(int64(tt.now)); got != tt.want {
			t.Errorf("dateOf(%v): got %q, want %q", tt.now, got, tt.want)
		}
	}
}
