package ppf

import (
	"cmp"
	"net/netip"
	"slices"
)

// maxLedger bounds the lines that one worker keeps, about 1 MiB.
const maxLedger = 4096

// ledgerKey is one line of the ledger. Client and server are the zero address in that
// of others.
type ledgerKey struct {
	instance       string
	reason         Reason
	outcome        Outcome
	client, server netip.Addr
}

// ledgerEntry is how often, and whether the client is known to be there: it has gone
// on after the server had answered.
type ledgerEntry struct {
	n     uint64
	known bool
}

// ledger counts, per protected host and client, what was mended or would have
// been refused: what strict, or the end of monitor mode, would break. It belongs
// to one worker. What is not a drop comes from few peers in good order, so that
// the lines seldom run out. Where they do, as in a flood from addresses that were
// made up, a new line takes the place of one that tells least, which is counted
// with others.
type ledger map[ledgerKey]ledgerEntry

// ledgerSample is among how many lines the one is sought that gives way: where most
// were made up, one of those is among them.
const ledgerSample = 8

func (l *ledger) add(k ledgerKey, known bool) {
	if *l == nil {
		*l = ledger{}
	}
	e, ok := (*l)[k]
	if !ok && len(*l) >= maxLedger && !l.makeRoom(known) {
		l.addOther(k, 1)
		return
	}
	(*l)[k] = ledgerEntry{e.n + 1, e.known || known}
}

// makeRoom takes a line out, unless all that it looks at tell more than a new one
// would.
func (l *ledger) makeRoom(known bool) bool {
	var least ledgerKey
	var e ledgerEntry
	seen := 0
	for k, f := range *l { // it begins anywhere
		if !k.client.IsValid() {
			continue
		}
		if seen == 0 || e.known && !f.known || e.known == f.known && f.n < e.n {
			least, e = k, f
		}
		if seen++; seen == ledgerSample {
			break
		}
	}
	if seen == 0 || e.known && !known {
		return false
	}
	delete(*l, least)
	l.addOther(least, e.n)
	return true
}

// addOther counts a line with others. Of those there is one for each instance, reason
// and outcome.
func (l *ledger) addOther(k ledgerKey, n uint64) {
	k.client, k.server = netip.Addr{}, netip.Addr{}
	e := (*l)[k]
	(*l)[k] = ledgerEntry{n: e.n + n}
}

// LedgerLine says how often something happened between a client and a server.
type LedgerLine struct {
	Server   string   `json:"server"` // the protected host; "others" beyond the bound
	Client   string   `json:"client"` // likewise
	Instance string   `json:"instance"`
	Reason   string   `json:"reason"`
	Action   string   `json:"action"` // repair, would-repair, would-drop
	Count    uint64   `json:"count"`
	CVE      []string `json:"cve"`
}

// Ledger lists what was mended or would have been refused, by server, most
// frequent first.
func (e *Engine) Ledger() []LedgerLine {
	sum := map[ledgerKey]uint64{}
	for _, w := range e.workers {
		w.mu.Lock()
		for k, e := range w.ledger {
			sum[k] += e.n
		}
		w.mu.Unlock()
	}
	name := func(a netip.Addr) string {
		if !a.IsValid() {
			return "others"
		}
		return a.String()
	}
	list := make([]LedgerLine, 0, len(sum))
	for k, n := range sum {
		list = append(list, LedgerLine{name(k.server), name(k.client), k.instance, k.reason.String(), k.outcome.String(), n, k.reason.Info().CVE})
	}
	slices.SortFunc(list, func(a, b LedgerLine) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Instance, b.Instance))
	})
	return list
}
