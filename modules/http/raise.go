package http

import (
	"strconv"
	"strings"
	"time"
)

// The largest limits that may be set.
const (
	mostFields   = 1000
	mostHead     = 1 << 20
	mostBody     = 1 << 50
	mostBuffer   = 1 << 40
	mostInterval = 24 * time.Hour
)

// raised gives a setting that relaxes a reason with twice the limit that is set in place
// of the default: what is printed is to help where it is put in. It is "" where the
// limit cannot be larger.
func (p *policy) raised(setting string, rt *route) string {
	before, rest, ok := strings.Cut(setting, "{http: {")
	key, _, more := strings.Cut(rest, ": ")
	if !ok || !more {
		return setting
	}
	if rt == nil {
		rt = &p.base
	}
	limit, most := int64(0), int64(0)
	var d time.Duration
	switch c := &p.cfg; key {
	case "max_fields":
		limit, most = int64(c.MaxFields), mostFields
	case "max_field":
		limit, most = int64(c.MaxField), mostHead
	case "max_head":
		limit, most = int64(c.MaxHead), mostHead
	case "max_target":
		limit, most = int64(c.MaxTarget), mostHead
	case "max_ranges":
		limit, most = int64(c.MaxRanges), int64(len(ranges{}.list))
	case "max_informational":
		limit, most = int64(c.MaxInformational), mostFields
	case "max_body":
		limit, most = rt.MaxBody, mostBody
	case "buffer_total":
		limit, most = c.BufferTotal, mostBuffer
	case "body_rate":
		return before + "{http: {body_rate: " + strconv.Itoa(c.BodyRate/2) + "}}"
	case "head_timeout":
		d = c.HeadTimeout
	case "body_window":
		d = c.BodyWindow
	case "response_timeout":
		d = c.ResponseTimeout
	default:
		return setting
	}
	value := ""
	switch {
	case d > 0 && d < mostInterval:
		value = min(2*d, mostInterval).String()
	case d == 0 && limit < most:
		value = strconv.FormatInt(min(max(2*limit, 1), most), 10)
	default:
		return ""
	}
	return before + "{http: {" + key + ": " + value + "}}"
}
