package tcp

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// A cookie is the sequence number of a SYN-ACK that nothing is kept of: who sends
// its number back has got it (RFC 4987 §3.6). In it stand, from the highest bit on, 27
// bits that only the key's owner can make, which key that was, and the MSS of the
// client. What else both sides offered stands in the timestamp of the SYN-ACK, which
// the client echoes, behind 22 more bits of the kind: without timestamps nothing
// else is offered.
const (
	cookieMAC   = uint32(0xffff_ffe0)
	cookieKey   = 1 << 4
	cookieMSS   = 1<<4 - 1
	stampMAC    = uint32(0xffff_fc00)
	stampClient = 6 // shift of the client's window scale
	stampServer = 2 // shift of the server's
	stampScale  = 1<<4 - 1
	stampSACK   = 1 << 1
	stampECN    = 1 << 0

	noScale = stampScale // in place of a window scale
)

// cookieLife is how long a key makes cookies. They are good for as long again.
const cookieLife = int64(time.Minute)

// cookieMSSes are the values that a cookie can tell, in ascending order: those of
// common links, with and without tunnels, in IPv4 and IPv6. The client's is rounded
// down.
var cookieMSSes = [cookieMSS + 1]uint16{
	48, 88, 216, 412, 536, 796, 1024, 1220, 1300, 1360, 1400, 1420, 1440, 1452, 1460, 8940,
}

// mssIndex gives the place of the largest value that is not above mss; false:
// there is none.
func mssIndex(mss uint16) (i uint8, ok bool) {
	for int(i)+1 < len(cookieMSSes) && cookieMSSes[i+1] <= mss {
		i++
	}
	return i, mss >= cookieMSSes[0]
}

// cookie is what one tells.
type cookie struct {
	seq   packet.Seq // of the SYN-ACK
	stamp uint32     // of its timestamp
	iss   packet.Seq // of the client
	mss   uint8      // place in cookieMSSes
	// With timestamps: both sides' window scales, noScale where none was offered, and
	// what both offer beside.
	stamped                  bool
	clientScale, serverScale uint8
	sack, ecn                bool
}

// offered gives the lower bits of the timestamp.
func (c *cookie) offered() (bits uint32) {
	if !c.stamped {
		return 0
	}
	bits = uint32(c.clientScale)<<stampClient | uint32(c.serverScale)<<stampServer
	if c.sack {
		bits |= stampSACK
	}
	if c.ecn {
		bits |= stampECN
	}
	return bits
}

// setOffered is the inverse.
func (c *cookie) setOffered(bits uint32) {
	c.clientScale, c.serverScale = uint8(bits>>stampClient&stampScale), uint8(bits>>stampServer&stampScale)
	c.sack, c.ecn = bits&stampSACK != 0, bits&stampECN != 0
}

// secrets are the keys of cookies. The zero value is ready; it is safe for
// concurrent use.
type secrets struct {
	made atomic.Int64 // when the last cookie was made, in nanoseconds since 1970

	mu   sync.Mutex
	age  int64 // of the latest key, in lives since 1970
	keys [2]struct {
		bytes [sha256.Size]byte
		good  bool
	} // by the lowest bit of age
}

// key gives the key for one bit of its age; false: it is too old, or there was
// none. With fresh the latest one is meant, and made where there is none.
func (s *secrets) key(env ppf.Env, now int64, bit uint8, fresh bool) (key [sha256.Size]byte, which uint8, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := now / cookieLife; age != s.age {
		for i := range s.keys {
			// Only the key of the life before stays.
			s.keys[i].good = s.keys[i].good && age == s.age+1 && i == int(s.age&1)
		}
		s.age = age
	}
	if !fresh {
		return s.keys[bit].bytes, bit, s.keys[bit].good
	}
	k := &s.keys[s.age&1]
	if !k.good {
		for i := 0; i < len(k.bytes); i += 4 {
			binary.NativeEndian.PutUint32(k.bytes[i:], env.Uint32())
		}
		k.good = true
	}
	return k.bytes, uint8(s.age & 1), true
}

// live says that there may be cookies whose answer is still to come.
func (s *secrets) live(now int64) bool {
	made := s.made.Load()
	return made != 0 && now-made <= 2*cookieLife
}

// sign gives the secret bits of a cookie for the sender of the packet: for its
// number, and for its timestamp. All that is hashed has one length, so a key before
// it is enough.
func (c *cookie) sign(x *ppf.Exchange, key *[sha256.Size]byte) (seq, stamp uint32) {
	var b [sha256.Size + 2*16 + 2*2 + 4 + 4 + 2 + 4]byte
	n := copy(b[:], key[:])
	src, dst := x.In.Src().As16(), x.In.Dst().As16()
	n += copy(b[n:], src[:])
	n += copy(b[n:], dst[:])
	binary.BigEndian.PutUint16(b[n:], x.In.SrcPort())
	binary.BigEndian.PutUint16(b[n+2:], x.In.DstPort())
	binary.BigEndian.PutUint32(b[n+4:], x.VLAN())
	binary.BigEndian.PutUint32(b[n+8:], uint32(c.iss))
	b[n+12] = c.mss
	if c.stamped {
		b[n+13] = 1
	}
	binary.BigEndian.PutUint32(b[n+14:], c.offered())
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint32(sum[:]) & cookieMAC, binary.BigEndian.Uint32(sum[4:]) & stampMAC
}

// issue fills in number and timestamp for the sender of the packet.
func (s *secrets) issue(x *ppf.Exchange, c *cookie) {
	key, which, _ := s.key(x.Env(), x.Now, 0, true)
	seq, stamp := c.sign(x, &key)
	c.seq = packet.Seq(seq | uint32(which)*cookieKey | uint32(c.mss))
	c.stamp = stamp | c.offered()
	s.made.Store(x.Now)
}

// check reads the cookie that the packet's sender acknowledges; iss is what its own
// number says it began with, and o its options.
func (s *secrets) check(x *ppf.Exchange, iss, ack packet.Seq, o *packet.TCPOptions) (c cookie, ok bool) {
	c = cookie{seq: ack - 1, iss: iss, stamped: o.Has&packet.OptTimestamps != 0, clientScale: noScale, serverScale: noScale}
	c.mss = uint8(c.seq & cookieMSS)
	if c.stamped {
		c.stamp = o.TSEcr
		c.setOffered(c.stamp)
	}
	key, _, ok := s.key(x.Env(), x.Now, uint8(c.seq&cookieKey/cookieKey), false)
	if !ok {
		return c, false
	}
	seq, stamp := c.sign(x, &key)
	return c, seq == uint32(c.seq)&cookieMAC && (!c.stamped || stamp == c.stamp&stampMAC)
}
