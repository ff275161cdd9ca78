package ppf

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/promethos/promethos/packet"
)

// ConnAdopter is a Processor that can go on with a connection of which only its
// addresses and a note are known: after a crash.
type ConnAdopter interface {
	// ConnNote is what to note of a connection; it does not change. It reports false
	// as long as that is not known.
	ConnNote(c *Conn) (_ Note, ok bool)
	// AdoptConn takes a connection up, locked, and says how long it may be silent, and
	// how long before it gives way to a new one where there is no room.
	AdoptConn(c *Conn, n Note) (silent, giveWay time.Duration)
}

// Note is what is noted of a connection.
type Note [16]byte

// A journal has a place for each cell of the table: a checksum, which is written
// last and taken away first, so that an entry counts only as a whole; the instance,
// the note, and the key of the client's flow.
const (
	journalSum      = 0
	journalInstance = 4
	journalNote     = 8
	journalKey      = 24
	journalEntry    = 72
	journalOpened   = 1 << 1 // in the byte of the key that says IPv6
	keyV6           = 37
)

// maxJournal is for how many connections at a time a journal has a place.
const maxJournal = 1 << 16

// JournalSize is how long a journal is.
func (e *Engine) JournalSize() int64 {
	cells := (min(e.table.Limit(), maxJournal) + pageSize - 1) &^ (pageSize - 1)
	return int64(cells) * journalEntry
}

// KeepJournal notes connections that nobody could take up by their packets alone
// in b, memory that outlives the program, such as a file that is mapped. No worker
// may run yet. Connections for which it has no place are not noted.
func (e *Engine) KeepJournal(b []byte) { e.table.journal = b }

// Remember notes x.Conn.
func (x *Exchange) Remember(n Note) {
	x.worker.engine.table.remember(x.Conn, x.Instance.sum, n)
}

// entry is the place of a cell, nil where there is none.
func (t *Table) entry(index uint32) []byte {
	at := int(index) * journalEntry
	if at+journalEntry > len(t.journal) {
		return nil
	}
	return t.journal[at : at+journalEntry : at+journalEntry]
}

func (t *Table) remember(c *Conn, instance uint32, n Note) {
	b := t.entry(c.index)
	if b == nil {
		return
	}
	clear(b[journalSum:journalInstance])
	binary.LittleEndian.PutUint32(b[journalInstance:], instance)
	copy(b[journalNote:], n[:])
	key := c.key[ClientToServer].bytes()
	key[keyV6] |= byte(c.opened) * journalOpened
	copy(b[journalKey:], key[:])
	binary.LittleEndian.PutUint32(b[journalSum:], journalChecksum(b))
}

// journalChecksum is never 0, which marks a free place.
func journalChecksum(b []byte) uint32 { return crc32.ChecksumIEEE(b[journalInstance:]) | 1 }

// forget takes the entry of a cell out.
func (t *Table) forget(index uint32) {
	if b := t.entry(index); b != nil {
		clear(b[journalSum:journalInstance])
	}
}

// RecoverConnections takes up what the journal of a run noted that did not come
// to its end, and tells how many. No worker may run.
func (e *Engine) RecoverConnections(journal []byte) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	byPrint := map[uint32]*ProxyInstance{}
	for _, p := range *e.proxy.byID.Load() {
		if p != nil && p.spec != nil && p.numbers.on() {
			byPrint[p.printSum()] = p
		}
	}
	for ; len(journal) >= journalEntry; journal = journal[journalEntry:] {
		b := journal[:journalEntry]
		sum := binary.LittleEndian.Uint32(b)
		if sum == 0 || sum != journalChecksum(b) {
			continue
		}
		p := byPrint[binary.LittleEndian.Uint32(b[journalInstance:])]
		if p != nil && e.recover(p, keyOf([keyBytes]byte(b[journalKey:])), Dir(b[journalKey+keyV6]&journalOpened/journalOpened), Note(b[journalNote:])) {
			n++
		}
	}
	return n
}

func (e *Engine) recover(p *ProxyInstance, key Key, opened Dir, n Note) bool {
	adopter := p.adopter()
	if adopter == nil || key.Group != p.Group {
		return false
	}
	if opened == ServerToClient {
		key = key.Reverse()
	}
	now := e.env.Now()
	c, r := e.table.create(p, 0, key, opened, now)
	if r != packet.ReasonNone {
		return false
	}
	c.Translated = true
	silent, giveWay := adopter.AdoptConn(c, n)
	e.table.SetDeadline(c, now+int64(silent))
	e.table.GiveWay(c, now+int64(giveWay))
	e.table.remember(c, p.printSum(), n)
	c.mu.Unlock()
	return true
}

// adopter is the function of an instance that can take connections up.
func (p *ProxyInstance) adopter() ConnAdopter {
	for _, name := range p.Chain[ClientToServer] {
		if a, ok := p.processors[name].(ConnAdopter); ok {
			return a
		}
	}
	return nil
}

// keyOf is the inverse of Key.bytes.
func keyOf(b [keyBytes]byte) (k Key) {
	copy(k.Src[:], b[0:])
	copy(k.Dst[:], b[16:])
	k.SrcPort, k.DstPort = binary.BigEndian.Uint16(b[32:]), binary.BigEndian.Uint16(b[34:])
	k.Protocol, k.V6, k.Group, k.Wire = packet.Protocol(b[36]), b[keyV6]&1 != 0, Hook(b[38]), b[39]
	k.VLAN = binary.BigEndian.Uint32(b[40:])
	return k
}
