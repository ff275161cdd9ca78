package dhcp

import (
	"encoding/binary"
	"sync/atomic"
)

// requests remembers who has asked, so that answers have a question. Workers share
// it without a lock. Where two clients fall on one place the later one keeps it: the
// other asks again.
type requests struct {
	slots [slots]atomic.Uint64 // second in the upper half, fingerprint in the lower
}

// slots is how many clients may be asking at a time.
const slots = 4096

// at finds the place and fingerprint of a client's transaction.
func (r *requests) at(xid uint32, client [6]byte) (slot *atomic.Uint64, print uint32) {
	h := uint64(xid)
	for _, part := range [2]uint32{binary.BigEndian.Uint32(client[:]), uint32(binary.BigEndian.Uint16(client[4:]))} {
		h = (h ^ uint64(part)) * 0x9e3779b97f4a7c15 // 2^64 by the golden ratio: mixes well
		h ^= h >> 29
	}
	return &r.slots[h%slots], uint32(h >> 32)
}

// ask notes a request at a time in seconds.
func (r *requests) ask(xid uint32, client [6]byte, now uint32) {
	slot, print := r.at(xid, client)
	slot.Store(uint64(now)<<32 | uint64(print))
}

// asked reports a request of this transaction that is at most wait seconds old.
func (r *requests) asked(xid uint32, client [6]byte, now, wait uint32) bool {
	slot, print := r.at(xid, client)
	v := slot.Load()
	return v != 0 && uint32(v) == print && now-uint32(v>>32) <= wait
}
