package http

import (
	"sync/atomic"
	"time"
)

// httpDateWritten is the form of a date that is written (RFC 9110 §5.6.7).
const httpDateWritten = "Mon, 02 Jan 2006 15:04:05 GMT"

// httpDates are the forms that are read.
var httpDates = [...]string{httpDateWritten, "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC}

func parseDate(b []byte) (t time.Time, ok bool) {
	if len(b) > len("Wednesday, 02-Jan-06 15:04:05 GMT") {
		return t, false
	}
	for _, layout := range httpDates {
		if t, err := time.Parse(layout, string(b)); err == nil {
			return t.UTC(), true
		}
	}
	return t, false
}

// secondText is a date that was printed.
type secondText struct {
	second int64
	text   string
}

var printed atomic.Pointer[secondText]

// dateOf prints the date of a time; that of a second is printed once.
func dateOf(now int64) string {
	second := now / int64(time.Second)
	if p := printed.Load(); p != nil && p.second == second {
		return p.text
	}
	p := &secondText{second, time.Unix(second, 0).UTC().Format(httpDateWritten)}
	printed.Store(p)
	return p.text
}

const (
	dayNames   = "SunMonTueWedThuFriSat"
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// isWritten says whether b is a date exactly as it is written. It is what almost
// all dates are, and spares reading and printing them.
func isWritten(b []byte) bool {
	const form = "???, 00 ??? 0000 00:00:00 GMT"
	if len(b) != len(form) {
		return false
	}
	for i := range len(form) {
		switch c := form[i]; {
		case c == '0' && b[i]-'0' > 9, c != '0' && c != '?' && b[i] != c:
			return false
		}
	}
	two := func(i int) int { return int(b[i]-'0')*10 + int(b[i+1]-'0') }
	month := nameIndex(monthNames, b[8:11])
	day, year := two(5), two(12)*100+two(14)
	if month < 0 || year == 0 || day < 1 || two(17) > 23 || two(20) > 59 || two(23) > 59 {
		return false
	}
	date := time.Date(year, time.Month(month+1), day, 0, 0, 0, 0, time.UTC)
	return date.Day() == day && nameIndex(dayNames, b[:3]) == int(date.Weekday())
}

// nameIndex finds a name of three letters among several.
func nameIndex(names string, b []byte) int {
	for i := 0; i < len(names); i += 3 {
		if names[i:i+3] == string(b) {
			return i / 3
		}
	}
	return -1
}
