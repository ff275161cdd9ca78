package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// offIGMPRecords is where an IGMPv3 report has the number of its records; the rest
// of the header is laid out as ICMP's (RFC 3376 §4).
const (
	offIGMPRecords = 6

	// IGMPLen is the length of an IGMP message without sources and records in bytes.
	IGMPLen = 8
)

// IGMP types (IANA "IGMP Type Numbers").
const (
	IGMPQuery    uint8 = 0x11
	IGMPv1Report uint8 = 0x12
	IGMPv2Report uint8 = 0x16
	IGMPLeave    uint8 = 0x17
	IGMPv3Report uint8 = 0x22
)

// IGMPView reads an IGMP message in place (RFC 3376 §4). Only ParseIGMP makes a
// usable one.
type IGMPView struct{ b []byte }

// ParseIGMP checks that b, cut at the length that the IP header declares, holds a
// message's fixed part. Type, sources and records are for the caller to judge.
func ParseIGMP(b []byte) (IGMPView, Reason) {
	if len(b) < IGMPLen {
		return IGMPView{}, ReasonIGMPTruncated
	}
	return IGMPView{b[:len(b):len(b)]}, ReasonNone
}

// Type is the message type.
func (v IGMPView) Type() uint8 { return v.b[offICMPType] }

// MaxResp is the code for how long hosts may wait before they answer a query.
func (v IGMPView) MaxResp() uint8 { return v.b[offICMPCode] }

// ChecksumOK reports whether the checksum is right.
func (v IGMPView) ChecksumOK() bool { return SumBytes(v.b).Fold() == 0xffff }

// Group is the group that a message other than an IGMPv3 report is about.
func (v IGMPView) Group() netip.Addr { return netip.AddrFrom4([4]byte(v.b[offICMPRest:IGMPLen])) }

// Records is how many records an IGMPv3 report says to have.
func (v IGMPView) Records() int { return int(binary.BigEndian.Uint16(v.b[offIGMPRecords:])) }

// Body is what follows the fixed part: the sources of a query, a report's records.
func (v IGMPView) Body() []byte { return v.b[IGMPLen:] }

// IGMP holds the values of an IGMP message to send; sources and records follow as
// payload.
type IGMP struct {
	Type, MaxResp uint8
	Group         netip.Addr // IPv4; of messages other than IGMPv3 reports
	Records       uint16     // of IGMPv3 reports
}

func (h *IGMP) check() error {
	if h.Type != IGMPv3Report && !h.Group.Is4() {
		return ErrAddress
	}
	return nil
}

// encode writes the fixed part. sum is that of the payload.
func (h *IGMP) encode(b []byte, sum Sum) {
	rest := uint32(h.Records)
	if h.Type != IGMPv3Report {
		group := h.Group.As4()
		rest = binary.BigEndian.Uint32(group[:])
	}
	encodeICMP(b[:IGMPLen], h.Type, h.MaxResp, rest, sum)
}

// String gives "IGMP type=0x16 group=239.1.2.3" or "IGMP type=0x22 records=1".
func (h IGMP) String() string {
	if h.Type == IGMPv3Report {
		return fmt.Sprintf("IGMP type=%#02x records=%d", h.Type, h.Records)
	}
	return fmt.Sprintf("IGMP type=%#02x group=%v", h.Type, h.Group)
}
