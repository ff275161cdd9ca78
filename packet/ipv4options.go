package packet

// Types of IPv4 options with their copied flag (IANA "IP Option Numbers").
const (
	ip4OptEnd         = 0
	ip4OptNop         = 1
	ip4OptRecordRoute = 7
	ip4OptTimestamp   = 68
	ip4OptLSRR        = 131
	ip4OptSSRR        = 137
	ip4OptRouterAlert = 148
)

// IPv4OptionSet is a set of IPv4 options.
type IPv4OptionSet uint8

// The options that are told apart. Only Router Alert can be sent.
const (
	IPOptNOP IPv4OptionSet = 1 << iota
	IPOptEOL
	IPOptRecordRoute
	IPOptTimestamp
	IPOptLSRR
	IPOptSSRR
	IPOptRouterAlert
	IPOptOther
)

var ip4OptionNames = [...]string{"NOP", "EOL", "RR", "TS", "LSRR", "SSRR", "RA", "other"}

// String gives "RR|RA", or "none".
func (s IPv4OptionSet) String() string { return setString(uint64(s), ip4OptionNames[:]) }

// CheckIPv4Options walks the options of an IPv4 header and tells which ones
// stand there (RFC 791 §3.1, RFC 2113). It stops at the first that is malformed
// or a source route, with its reason; set then holds what came before, a source
// route included. Nothing behind an EOL is looked at.
func CheckIPv4Options(opts []byte) (set IPv4OptionSet, r Reason) {
	for len(opts) > 0 {
		kind := opts[0]
		if kind == ip4OptEnd {
			return set | IPOptEOL, ReasonNone
		}
		if kind == ip4OptNop {
			set |= IPOptNOP
			opts = opts[1:]
			continue
		}
		if len(opts) < 2 {
			return set, ReasonIPOptionEnd
		}
		n := int(opts[1])
		switch {
		case n == 0:
			return set, ReasonIPOptionZero
		case n == 1:
			return set, ReasonIPOptionShort
		case n > len(opts):
			return set, ReasonIPOptionEnd
		}
		bit, ok := checkIPv4Option(kind, n)
		if !ok {
			return set, ReasonIPOptionSize
		}
		set |= bit
		if bit&(IPOptLSRR|IPOptSSRR) != 0 {
			return set, ReasonIPSourceRoute
		}
		opts = opts[n:]
	}
	return set, ReasonNone
}

// checkIPv4Option tells which option kind is, and whether it may have a length
// of n bytes.
func checkIPv4Option(kind uint8, n int) (bit IPv4OptionSet, ok bool) {
	switch kind {
	case ip4OptRecordRoute: // type, length, pointer, addresses
		return IPOptRecordRoute, n >= 3 && n%4 == 3
	case ip4OptTimestamp: // type, length, pointer, overflow and flag, words
		return IPOptTimestamp, n >= 4 && n%4 == 0
	case ip4OptLSRR:
		return IPOptLSRR, true
	case ip4OptSSRR:
		return IPOptSSRR, true
	case ip4OptRouterAlert:
		return IPOptRouterAlert, n == 4
	}
	return IPOptOther, true
}
