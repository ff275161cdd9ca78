package ppf

// Arena keeps the payloads that a user function wrote until the batch of their
// packets is done. It belongs to one worker.
type Arena struct {
	room  []byte
	used  int
	batch uint64
}

// arenaSize is room for the payloads of an ordinary batch, in bytes; larger ones
// cost an allocation.
const arenaSize = 1 << 18

// Keep gives a copy of b that stays as it is while the batch lasts; see
// [Exchange.Batch].
func (a *Arena) Keep(batch uint64, b []byte) []byte {
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

// Keep gives a copy of b that stays as it is until the batch is done, for a
// payload of Out; the caller may change it.
func (x *Exchange) Keep(b []byte) []byte { return x.worker.arena.Keep(x.worker.batches, b) }
