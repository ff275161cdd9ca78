package wasm

// arena keeps the payloads that a module wrote until the batch of their packets
// is done.
type arena struct {
	room  []byte
	used  int
	batch uint64
}

// arenaSize is room for the payloads of an ordinary batch, in bytes; larger ones
// cost an allocation.
const arenaSize = 1 << 18

// keep gives a copy of b that stays as it is while the batch lasts.
func (a *arena) keep(batch uint64, b []byte) []byte {
	if batch != a.batch {
		a.batch, a.used = batch, 0
	}
	if a.used+len(b) > len(a.room) {
		// What refers to the old room keeps it alive.
		a.room, a.used = make([]byte, max(arenaSize, len(b))), 0
	}
	kept := a.room[a.used : a.used+len(b) : a.used+len(b)]
	a.used += copy(kept, b)
	return kept
}
