package ppf

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// ledgerLine is a line of the n-th of many clients.
func ledgerLine(n uint32) ledgerKey {
	var client [4]byte
	binary.BigEndian.PutUint32(client[:], n)
	return ledgerKey{instance: "a", reason: ReasonUnset, outcome: OutcomeRepair, client: netip.AddrFrom4(client), server: netip.AddrFrom4([4]byte{192, 0, 2, 1})}
}

// TestLedgerFlood: clients that are made up leave lines to others, and all of them
// leave no more than there may be.
func TestLedgerFlood(t *testing.T) {
	const (
		known, often, late, madeUp = 1, 2, 3, 100
		flood                      = 10 * maxLedger
	)
	var l ledger
	l.add(ledgerLine(known), true)
	l.add(ledgerLine(often), false)
	l.add(ledgerLine(often), false)
	for n := range uint32(flood) {
		l.add(ledgerLine(madeUp+n), false)
	}
	l.add(ledgerLine(late), false)
	for client, want := range map[uint32]ledgerEntry{known: {1, true}, often: {2, false}, late: {1, false}} {
		if got := l[ledgerLine(client)]; got != want {
			t.Errorf("client %d: got %+v, want %+v", client, got, want)
		}
	}
	sum := uint64(0)
	for _, e := range l {
		sum += e.n
	}
	if len(l) > maxLedger+1 || sum != flood+4 {
		t.Errorf("%d lines and a sum of %d, want at most %d and %d", len(l), sum, maxLedger+1, flood+4)
	}
	for n := range uint32(maxLedger) { // now all are there
		l.add(ledgerLine(madeUp+flood+n), true)
	}
	l.add(ledgerLine(madeUp), true)
	if e := l[ledgerLine(madeUp)]; e != (ledgerEntry{1, true}) {
		t.Errorf("a client that is there, when all are: got %+v", e)
	}
	next := uint32(madeUp + 2*flood)
	if n := testing.AllocsPerRun(1000, func() {
		l.add(ledgerLine(next), true)
		next++
	}); n != 0 {
		t.Errorf("%v allocations for a line in a full ledger, want none", n)
	}
}
