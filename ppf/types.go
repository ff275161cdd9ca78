package ppf

import (
	"fmt"

	"github.com/promethos/promethos/packet"
)

// Reason says why a packet was dropped or repaired; see [packet.Reason].
type Reason = packet.Reason

// ReasonInfo describes a Reason; see [packet.ReasonInfo].
type ReasonInfo = packet.ReasonInfo

// Hook is a point where packets are taken: one of netfilter's five, or a port of
// an inline pair. The zero value is HookNone; the numbers of netfilter's minus one
// are the kernel's (include/uapi/linux/netfilter.h, enum nf_inet_hooks).
type Hook uint8

// The five netfilter hooks (thesis 1.3.1), and the two ports of an inline pair.
const (
	HookNone Hook = iota
	Prerouting
	Input
	Forward
	Output
	Postrouting

	// InlineClient takes the frames that come in at the client's port of a pair,
	// InlineServer those that come in at the server's.
	InlineClient
	InlineServer

	// NumHooks is the length of an array indexed by one of netfilter's hooks.
	NumHooks = int(Postrouting) + 1
	// numPlaces is the length of an array indexed by any Hook.
	numPlaces = int(InlineServer) + 1
)

// The groups of the legs of a transparent stream chain, whose packets are taken
// at PREROUTING when they arrive and at POSTROUTING when they leave. Both legs
// may show the same addresses. The client's flow arrives on the client leg and
// leaves on the server leg, the server's flow the other way round: arriving or
// leaving tells the legs apart in a key.
const (
	arriving Hook = Hook(numPlaces) + iota
	leaving
)

var hookNames = [numPlaces]string{"none", "prerouting", "input", "forward", "output", "postrouting", "inline-client", "inline-server"}

// String gives the hook's name as configuration spells it.
func (h Hook) String() string {
	if int(h) < numPlaces {
		return hookNames[h]
	}
	return fmt.Sprintf("hook(%d)", uint8(h))
}

// Inline reports whether the hook is a port of an inline pair.
func (h Hook) Inline() bool { return h == InlineClient || h == InlineServer }

// ParseHook is the inverse of String for the five netfilter hooks.
func ParseHook(s string) (Hook, bool) {
	for h := Prerouting; int(h) < NumHooks; h++ {
		if hookNames[h] == s {
			return h, true
		}
	}
	return HookNone, false
}

// Dir is a flow of a proxy instance: client to server or server to client
// (thesis 3.2.4). It indexes per-direction data held in [2]T.
type Dir uint8

// The two flows.
const (
	ClientToServer Dir = iota
	ServerToClient
)

// Other is the opposite flow.
func (d Dir) Other() Dir { return d ^ 1 }

// String gives the thesis' letters: cs, sc.
func (d Dir) String() string {
	if d == ClientToServer {
		return "cs"
	}
	return "sc"
}

// Action is what becomes of a packet. The words are netfilter's (thesis
// 1.3.2); what they mean here is written at each.
type Action uint8

// The actions. The zero value is Drop: a verdict nobody set is a drop.
const (
	// Drop ends the chain; nothing is sent.
	Drop Action = iota
	// Accept goes on to the next user function; after the last one Out is sent.
	Accept
	// Stolen ends the chain; the module keeps what it needs of the packet, the
	// kernel gets a drop, and what the module emits later is an extra packet.
	Stolen
	// Queue ends the chain; the received packet goes to another queue number.
	Queue
	// Repeat ends the chain; Out goes once more through the hook, with a mark
	// that our own rule skips.
	Repeat
)

var actionNames = [...]string{"drop", "accept", "stolen", "queue", "repeat"}

// String gives netfilter's word.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Verdict is what a user function or a plugin answers for one packet. The zero
// value is a drop without a reason, which is counted as a bug of the module
// (ReasonUnset).
type Verdict struct {
	Action Action
	Reason Reason
	// Queue is the queue number for Action Queue.
	Queue uint16
}

// Mode says what an instance does with findings (DESIGN section 4).
type Mode uint8

// The modes. The zero value is the default.
const (
	// Repair drops what is refused and sends what is repaired.
	Repair Mode = iota
	// Monitor sends unchanged what it would drop or repair, and counts it.
	Monitor
	// Strict drops also what could be repaired.
	Strict
)

var modeNames = [...]string{"repair", "monitor", "strict"}

// String gives the mode as configuration spells it.
func (m Mode) String() string { return modeNames[m] }

// Level is what a user function consumes and produces (DESIGN section 5).
type Level uint8

// The levels, in the order in which a chain may use them.
const (
	LevelPacket Level = iota
	LevelStream
	LevelMessage
)

var levelNames = [...]string{"packet", "stream", "message"}

// String names the level.
func (l Level) String() string { return levelNames[l] }
