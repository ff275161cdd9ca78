package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// maxPeers is how many clients are named for one reason.
const maxPeers = 5

// sight collects what an instance in monitor mode would have done.
type sight struct {
	types map[packet.EtherType]bool // of frames whose payload no function knows
	last  uint64                    // number of the last event that was read
}

// read takes in what has happened since the last time. Of a kind of frame that
// comes again and again some are told, and one is enough.
func (s *sight) read(events []ppf.Event) {
	if s.types == nil {
		s.types = map[packet.EtherType]bool{}
	}
	for _, e := range events {
		s.last = e.Seq
		if e.Record != nil && e.Record.Reason == "ethernet.type" {
			s.types[packet.EtherType(e.Record.Value)] = true
		}
	}
}

// tell prints what would have been refused or mended, for whom, and what lets it
// pass.
func (s *sight) tell(w io.Writer, ledger []ppf.LedgerLine) {
	type kind struct{ reason, action string }
	counts, peers := map[kind]uint64{}, map[kind][]string{}
	for _, l := range ledger {
		k := kind{l.Reason, l.Action}
		counts[k] += l.Count
		if who := l.Client + " > " + l.Server; !slices.Contains(peers[k], who) && l.Client != "others" {
			peers[k] = append(peers[k], who)
		}
	}
	if len(counts) == 0 {
		fmt.Fprintln(w, "seen: nothing that would be refused or mended")
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b kind) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.reason, b.reason)) })
	for _, k := range kinds {
		fmt.Fprintf(w, "seen: %s %s %d times", k.action, k.reason, counts[k])
		if who := peers[k]; len(who) > maxPeers {
			fmt.Fprintf(w, ", %s and %d more", strings.Join(who[:maxPeers], ", "), len(who)-maxPeers)
		} else if len(who) > 0 {
			fmt.Fprintf(w, ", %s", strings.Join(who, ", "))
		}
		if r, ok := packet.ReasonByName(k.reason); ok && r.Info().Relax != "" {
			fmt.Fprintf(w, " (relaxed by %s)", r.Info().Relax)
		}
		fmt.Fprintln(w)
	}
	if len(s.types) > 0 {
		names := []string{}
		for _, t := range slices.Sorted(maps.Keys(s.types)) {
			names = append(names, fmt.Sprintf("%#04x", uint16(t)))
		}
		fmt.Fprintf(w, "seen: frames of other protocols; --ethertypes %s lets them pass\n", strings.Join(names, ","))
	}
}
