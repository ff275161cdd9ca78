package ppf

import (
	"cmp"
	"net/netip"
	"slices"
)

// maxLedger bounds the lines that one worker keeps, about 1 MiB.
const maxLedger = 4096

// ledgerKey is one line of the ledger. Client is the zero address for those that
// came when the ledger was full.
type ledgerKey struct {
	instance       string
	reason         Reason
	outcome        Outcome
	client, server netip.Addr
}

// ledger counts, per protected host and client, what was mended or would have
// been refused: what strict, or the end of monitor mode, would break. It belongs
// to one worker. What is not a drop comes from few peers in good order, so that
// the lines seldom run out; who sends from many addresses fills them once, and
// from then on is counted together.
type ledger map[ledgerKey]uint64

func (l *ledger) add(k ledgerKey) {
	if *l == nil {
		*l = ledger{}
	}
	if n, ok := (*l)[k]; ok {
		(*l)[k] = n + 1
		return
	}
	if len(*l) >= maxLedger {
		k.client, k.server = netip.Addr{}, netip.Addr{}
	}
	(*l)[k]++
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
	sum := ledger{}
	for _, w := range e.workers {
		w.mu.Lock()
		for k, n := range w.ledger {
			sum[k] += n
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
