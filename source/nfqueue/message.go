package nfqueue

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Numbers of nfnetlink_queue.h and nfnetlink.h.
const (
	subsysQueue = 3 // NFNL_SUBSYS_QUEUE

	msgPacket  = 0 // NFQNL_MSG_PACKET
	msgVerdict = 1 // NFQNL_MSG_VERDICT
	msgConfig  = 2 // NFQNL_MSG_CONFIG

	attrPacketHdr  = 1  // NFQA_PACKET_HDR
	attrVerdictHdr = 2  // NFQA_VERDICT_HDR
	attrMark       = 3  // NFQA_MARK
	attrInDev      = 5  // NFQA_IFINDEX_INDEV
	attrOutDev     = 6  // NFQA_IFINDEX_OUTDEV
	attrHWAddr     = 9  // NFQA_HWADDR
	attrPayload    = 10 // NFQA_PAYLOAD
	attrCapLen     = 13 // NFQA_CAP_LEN
	attrSKBInfo    = 14 // NFQA_SKB_INFO

	skbCsumNotReady = 1 // NFQA_SKB_CSUMNOTREADY
	skbGSO          = 2 // NFQA_SKB_GSO

	cfgCmd         = 1 // NFQA_CFG_CMD
	cfgParams      = 2 // NFQA_CFG_PARAMS
	cfgQueueMaxLen = 3 // NFQA_CFG_QUEUE_MAXLEN
	cfgMask        = 4 // NFQA_CFG_MASK
	cfgFlags       = 5 // NFQA_CFG_FLAGS

	cfgCmdBind    = 1 // NFQNL_CFG_CMD_BIND
	cfgCopyPacket = 2 // NFQNL_COPY_PACKET

	cfgFailOpen = 1 // NFQA_CFG_F_FAIL_OPEN
	cfgGSO      = 4 // NFQA_CFG_F_GSO

	nfDrop   = 0 // include/uapi/linux/netfilter.h
	nfAccept = 1
	nfQueue  = 3
	nfRepeat = 4
)

const (
	nlHeaderLen = 16 // struct nlmsghdr
	nfHeaderLen = 4  // struct nfgenmsg
	attrLen     = 4  // struct nlattr
)

var native = binary.NativeEndian

// What is wrong with a packet message.
var (
	// errMalformed is a message that does not even say which packet it is about.
	errMalformed = errors.New("malformed netlink message")
	// errUnusable is one that does, so that the packet can be dropped.
	errUnusable = errors.New("malformed netlink message about a known packet")
)

func align4(n int) int { return (n + 3) &^ 3 }

// parsePacket fills a frame from the body of a NFQNL_MSG_PACKET message, behind
// its netlink header. Data aliases b. With errUnusable only ID means something.
func parsePacket(b []byte, f *ppf.Frame) error {
	if len(b) < nfHeaderLen {
		return errMalformed
	}
	f.Action, f.Head, f.Body = ppf.Drop, nil, nil
	f.Data, f.WireLen, f.Hook, f.In, f.Out, f.Mark = nil, 0, ppf.HookNone, 0, 0, 0
	f.HasMAC, f.CsumNotReady, f.GSO, f.Link = false, false, false, packet.LinkRawIP
	known, seen := false, false
	for b = b[nfHeaderLen:]; len(b) >= attrLen; {
		n := int(native.Uint16(b))
		if n < attrLen || n > len(b) {
			seen = false
			break
		}
		kind, v := native.Uint16(b[2:])&0x3fff, b[attrLen:n:n]
		b = b[min(align4(n), len(b)):]
		switch {
		case kind == attrPacketHdr && len(v) >= 7:
			f.ID, known = binary.BigEndian.Uint32(v), true
			if int(v[6]) < ppf.NumHooks-1 {
				f.Hook, seen = ppf.Hook(v[6])+ppf.Prerouting, true
			}
		case kind == attrMark && len(v) >= 4:
			f.Mark = binary.BigEndian.Uint32(v)
		case kind == attrInDev && len(v) >= 4:
			f.In = int32(binary.BigEndian.Uint32(v))
		case kind == attrOutDev && len(v) >= 4:
			f.Out = int32(binary.BigEndian.Uint32(v))
		case kind == attrHWAddr && len(v) >= 10:
			if binary.BigEndian.Uint16(v) == 6 {
				f.SrcMAC, f.HasMAC = packet.MAC(v[4:10]), true
			}
		case kind == attrPayload:
			f.Data = v
		case kind == attrCapLen && len(v) >= 4:
			f.WireLen = int(binary.BigEndian.Uint32(v))
		case kind == attrSKBInfo && len(v) >= 4:
			info := binary.BigEndian.Uint32(v)
			f.CsumNotReady, f.GSO = info&skbCsumNotReady != 0, info&skbGSO != 0
		}
	}
	if !seen {
		if known {
			return errUnusable
		}
		return errMalformed
	}
	if f.WireLen == 0 {
		f.WireLen = len(f.Data)
	}
	return nil
}

// verdictRoom is the longest fixed part of a verdict message: headers, verdict,
// mark and the header of the payload attribute.
const verdictRoom = nlHeaderLen + nfHeaderLen + attrLen + 8 + attrLen + 4 + attrLen

// zeroPad ends a payload attribute on a 4-byte border.
var zeroPad [4]byte

// putVerdict writes the fixed part of a frame's verdict into b, which has
// verdictRoom bytes, and returns it. The payload, Head and Body, follows, and
// padding to 4 bytes.
func putVerdict(b []byte, queue uint16, f *ppf.Frame, mark, judged uint32) []byte {
	verdict := uint32(nfDrop)
	switch f.Action {
	case ppf.Accept:
		verdict = nfAccept
	case ppf.Queue:
		verdict = nfQueue | uint32(f.Queue)<<16
	case ppf.Repeat:
		verdict = nfRepeat
	}
	n := nlHeaderLen
	b[n], b[n+1] = unix.AF_UNSPEC, 0
	binary.BigEndian.PutUint16(b[n+2:], queue)
	n += nfHeaderLen
	putAttr(b[n:], attrVerdictHdr, 8)
	binary.BigEndian.PutUint32(b[n+4:], verdict)
	binary.BigEndian.PutUint32(b[n+8:], f.ID)
	n += attrLen + 8
	if f.Action == ppf.Repeat || f.Judged {
		set := f.Mark | mark
		if f.Judged {
			set = f.Mark&^mark | judged
		}
		putAttr(b[n:], attrMark, 4)
		binary.BigEndian.PutUint32(b[n+4:], set)
		n += attrLen + 4
	}
	length := n
	if payload := len(f.Head) + len(f.Body); f.Head != nil && verdict != nfDrop {
		putAttr(b[n:], attrPayload, payload)
		n += attrLen
		length = n + align4(payload)
	}
	native.PutUint32(b, uint32(length))
	native.PutUint16(b[4:], subsysQueue<<8|msgVerdict)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST)
	native.PutUint32(b[8:], 0)
	native.PutUint32(b[12:], 0)
	return b[:n]
}

func putAttr(b []byte, kind uint16, length int) {
	native.PutUint16(b, uint16(attrLen+length))
	native.PutUint16(b[2:], kind)
}

// config builds a NFQNL_MSG_CONFIG request with one attribute after another.
type config struct{ b []byte }

func newConfig(queue uint16) *config {
	b := make([]byte, nlHeaderLen+nfHeaderLen, 128)
	native.PutUint16(b[4:], subsysQueue<<8|msgConfig)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b[nlHeaderLen] = unix.AF_UNSPEC
	binary.BigEndian.PutUint16(b[nlHeaderLen+2:], queue)
	return &config{b}
}

func (c *config) attr(kind uint16, value []byte) *config {
	var head [attrLen]byte
	putAttr(head[:], kind, len(value))
	c.b = append(append(c.b, head[:]...), value...)
	for len(c.b)%4 != 0 {
		c.b = append(c.b, 0)
	}
	return c
}

func (c *config) uint32(kind uint16, v uint32) *config {
	return c.attr(kind, binary.BigEndian.AppendUint32(nil, v))
}

func (c *config) message() []byte {
	native.PutUint32(c.b, uint32(len(c.b)))
	return c.b
}
