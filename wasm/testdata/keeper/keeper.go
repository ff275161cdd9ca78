// Package keeper is a module for tests: the payload's first word says what it
// does, and the packet it sends tells what it saw.
package keeper

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/promethos/promethos/pfm"
)

var (
	reasonRefused  = pfm.NewReason(pfm.ReasonInfo{Name: "keeper.refused", Field: "payload", Doc: "it asked to be refused", RFC: "9293 §1", CVE: []string{"CVE-2000-0001"}})
	reasonRepaired = pfm.NewReason(pfm.ReasonInfo{Name: "keeper.repaired", Repaired: true, Field: "payload", Doc: `it asked to be "repaired"`})
)

// turns are those of all loops.
var turns int

// Module does it.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "keeper", Bind: bind}}, Migrate: migrate}

// migrate knows schema 1, whose counts it adds 100 to.
func migrate(what pfm.Kept, schema uint32, old, fresh []byte) bool {
	if schema != 1 {
		return false
	}
	if what == pfm.KeptByConnection {
		fresh[0] = old[0] + 100
	} else {
		copy(fresh, old)
		fresh[0] += 100
	}
	return true
}

// beatAt is where the instance keeps who is told that the timer has come: from, to,
// and how often at a time.
const beatAt = 32

// beat tells it.
func beat(b *pfm.Binding) {
	var kept [9]byte
	b.Read(beatAt, kept[:])
	sent := 0
	for range kept[8] {
		if b.Emit(pfm.Extra{
			IP:  pfm.IP{Src: netip.AddrFrom4([4]byte(kept[:4])), Dst: netip.AddrFrom4([4]byte(kept[4:])), TTL: 64},
			UDP: &[2]uint16{7, 9}, Payload: []byte("beat"),
		}) {
			sent++
		}
	}
	if kept[8] > 0 {
		b.Log("beats " + strconv.Itoa(sent))
	}
}

func bind(b *pfm.Binding) (pfm.Processor, error) {
	greeting, _ := b.Setting("greeting")
	if greeting == "wrong" {
		return nil, errors.New("wrong greeting")
	}
	items := make([]string, b.Len("list"))
	for i := range items {
		items[i], _ = b.Setting(pfm.Item("list", i, "name"))
	}
	b.Timer = func() {
		b.Log("timer " + strconv.FormatUint(b.Add(0, 0), 10))
		beat(b)
		if b.Bool("again") {
			b.After(time.Second)
		}
	}
	if b.Bool("early") {
		b.Write(beatAt, []byte{203, 0, 113, 1, 192, 0, 2, 1, 1})
		b.After(time.Second)
	}
	return func(x *pfm.Exchange) pfm.Verdict {
		if !x.HasConn() && x.Connect(2, int64(time.Minute)) {
			return pfm.Stopped
		}
		if _, stop := x.Rebuild(); stop {
			return pfm.Stopped
		}
		word, rest, _ := strings.Cut(string(x.Payload()), " ")
		say := func(s string) pfm.Verdict {
			x.SetPayload([]byte(s))
			return pfm.Accept
		}
		switch word {
		case "count":
			if x.Storage()[0]++; x.Storage()[0] > 250 {
				return x.Refuse(reasonRefused, 250)
			}
			return say(strconv.Itoa(int(x.Storage()[0])) + " " + strconv.FormatUint(b.Add(0, 1), 10))
		case "settings":
			return say(greeting + " " + strings.Join(items, ","))
		case "shared":
			old := string(b.Shared("text"))
			return say(old + strconv.FormatBool(b.SetShared("text", []byte(rest))))
		case "data":
			has, err := b.DataHas("list", x.Src().AsSlice())
			word, _ := b.DataHas("list", []byte(rest))
			return say(strconv.FormatBool(has) + strconv.FormatBool(word) + strconv.FormatBool(err == nil))
		case "emit":
			ip := x.IP()
			ip.Src, ip.Dst = ip.Dst, ip.Src
			return say(strconv.FormatBool(x.Emit(pfm.Extra{IP: ip, TCP: &pfm.TCP{SrcPort: x.DstPort(), DstPort: x.SrcPort(), Flags: pfm.RST, Seq: x.TCP().Ack}}) &&
				x.Emit(pfm.Extra{IP: ip, UDP: &[2]uint16{7, 9}, Payload: []byte("hello")}) &&
				x.Emit(pfm.Extra{IP: ip, Echo: &pfm.Echo{Request: true, ID: 3, Seq: 4}}) &&
				!x.Emit(pfm.Extra{IP: pfm.IP{Src: ip.Src, Dst: ip.Dst, Protocol: 6}})))
		case "timer":
			b.After(time.Second)
		case "beat":
			n, _ := strconv.Atoi(rest)
			b.Write(beatAt, slices.Concat(x.Dst().AsSlice(), x.Src().AsSlice(), []byte{byte(n)}))
			b.After(time.Second)
		case "refuse":
			return x.Refuse(reasonRefused, 77)
		case "repair":
			if x.Finding(reasonRepaired, 78) {
				return pfm.Stopped
			}
		case "part":
			x.KeepPayload(5, x.PayloadLen()-5)
		case "tcp":
			t := x.TCP()
			t.Window, t.Options, t.MSS = 77, t.Options|pfm.OptMSS, 1234
			x.SetTCP(t)
		case "trap":
			panic("it asked for it")
		case "log":
			for range len(rest) {
				b.Log("it asked for it")
			}
		case "turn":
			n, _ := strconv.Atoi(rest)
			for ; n != 0; n-- {
				turns++
			}
		case "bytes":
			b.Write(8, []byte(rest))
			back := make([]byte, len(rest))
			b.Read(8, back)
			x.Touch(int64(time.Hour))
			return say(string(back))
		}
		return pfm.Accept
	}, nil
}
