package igmp

import (
	"encoding/binary"
	"net/netip"
)

// Offsets in a record of a report (RFC 3376 §4.2.4, RFC 3810 §5.2.4), and behind the
// group of a query of the newest version (RFC 3376 §4.1, RFC 3810 §5.1).
const (
	offRecordType    = 0
	offRecordAux     = 1
	offRecordSources = 2
	offRecordGroup   = 4

	offQueryFlags   = 0
	offQuerySources = 2
	queryLen        = 4

	maxRecordType  = 6    // BLOCK_OLD_SOURCES
	queryReserved  = 0xf0 // of the flags
	maxRecordsSeen = 1500 // more do not fit into a packet of any link that is usual
)

// family is what differs between the IP versions.
type family struct {
	size int // of an address
	addr func(b []byte) netip.Addr
}

var (
	family4 = family{4, func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }}
	family6 = family{16, func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }}
)

// records walks the n records of a report and gives their length; ok is false where
// one contradicts itself or the message.
func (f *family) records(b []byte, n int) (length int, ok bool) {
	if n > maxRecordsSeen {
		return 0, false
	}
	head := offRecordGroup + f.size
	for range n {
		r := b[length:]
		if len(r) < head || r[offRecordType] == 0 || r[offRecordType] > maxRecordType || r[offRecordAux] != 0 {
			return 0, false // of auxiliary data no kind is defined
		}
		if !f.addr(r[offRecordGroup:head]).IsMulticast() || !f.sources(r[head:], int(binary.BigEndian.Uint16(r[offRecordSources:]))) {
			return 0, false
		}
		length += head + f.size*int(binary.BigEndian.Uint16(r[offRecordSources:]))
	}
	return length, true
}

// sources reports whether b begins with n addresses that hosts can have.
func (f *family) sources(b []byte, n int) bool {
	if len(b) < n*f.size {
		return false
	}
	for i := range n {
		if a := f.addr(b[i*f.size : (i+1)*f.size]); a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() {
			return false
		}
	}
	return true
}

// query judges what follows the group in a query of the newest version, and gives
// its length.
func (f *family) query(b []byte) (length int, ok bool) {
	if len(b) < queryLen || b[offQueryFlags]&queryReserved != 0 {
		return 0, false
	}
	n := int(binary.BigEndian.Uint16(b[offQuerySources:]))
	return queryLen + n*f.size, f.sources(b[queryLen:], n)
}
