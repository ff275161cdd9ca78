package packet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Reason says why a packet was dropped or repaired. The high 16 bits are the
// number of the module that registered it, the low 16 bits its dense index plus
// nothing else; 0 is ReasonNone.
type Reason uint32

// ReasonNone means that nothing was found.
const ReasonNone Reason = 0

// Class says what kind of finding a reason is.
type Class uint8

// The classes. The zero value is Refused.
const (
	// Refused is a contradiction: the packet is dropped.
	Refused Class = iota
	// Repaired has one safe meaning: it is mended and counted; dropped in strict.
	Repaired
	// Rewritten is normal business and not counted.
	Rewritten
)

var classNames = [...]string{"refused", "repaired", "rewritten"}

// String names the class.
func (c Class) String() string { return classNames[c] }

// ReasonInfo describes a Reason.
type ReasonInfo struct {
	Name  string // stable, such as "tcp.option.length-zero"
	Class Class
	Field string // the field that the value belongs to: "tcp.option.length"
	Doc   string // one sentence
	RFC   string // "9293 §3.1"
	CVE   []string
	Trips string // which legitimate traffic can trip it
	Relax string // the setting that relaxes it
	// Repairable says that an override may turn a refusal into a repair.
	Repairable bool
}

type reasonTable struct {
	infos   []ReasonInfo // by index; 0 is ReasonNone
	reasons []Reason
	byName  map[string]Reason
	modules map[string]uint16
}

var (
	reasonMu sync.Mutex // serialises writers
	reasons  atomic.Pointer[reasonTable]
)

// NewReason registers a reason for a module. It panics when the name is taken
// or malformed: names are lowercase words with hyphens, separated by dots. It is
// safe for concurrent use and meant for package variables.
func NewReason(module string, info ReasonInfo) Reason {
	if !validReasonName(info.Name) {
		panic(fmt.Sprintf("packet: reason name %q is malformed", info.Name))
	}
	reasonMu.Lock()
	defer reasonMu.Unlock()
	next := reasonTable{
		infos: []ReasonInfo{{Name: "none"}}, reasons: []Reason{ReasonNone},
		byName: map[string]Reason{}, modules: map[string]uint16{},
	}
	if old := reasons.Load(); old != nil {
		next = reasonTable{slices.Clone(old.infos), slices.Clone(old.reasons), maps.Clone(old.byName), maps.Clone(old.modules)}
	}
	if _, taken := next.byName[info.Name]; taken {
		panic(fmt.Sprintf("packet: reason %s is registered twice", info.Name))
	}
	id, ok := next.modules[module]
	if !ok {
		id = uint16(len(next.modules) + 1)
		next.modules[module] = id
	}
	r := Reason(id)<<16 | Reason(len(next.infos))
	next.infos = append(next.infos, info)
	next.reasons = append(next.reasons, r)
	next.byName[info.Name] = r
	reasons.Store(&next)
	return r
}

func validReasonName(name string) bool {
	for _, word := range strings.Split(name, ".") {
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return strings.Contains(name, ".")
}

// Index is the reason's place in order of registration, from 1; 0 for
// ReasonNone. Counters use it.
func (r Reason) Index() int { return int(r & 0xffff) }

// Info describes the reason.
func (r Reason) Info() *ReasonInfo { return &reasons.Load().infos[r.Index()] }

// String is the reason's name.
func (r Reason) String() string { return r.Info().Name }

// ReasonByName finds a reason by its stable name.
func ReasonByName(name string) (Reason, bool) {
	r, ok := reasons.Load().byName[name]
	return r, ok
}

// Reasons lists all registered reasons, sorted by name.
func Reasons() []Reason {
	list := slices.Clone(reasons.Load().reasons[1:])
	slices.SortFunc(list, func(a, b Reason) int { return cmp.Compare(a.String(), b.String()) })
	return list
}

// ReasonCount is one more than the highest Index.
func ReasonCount() int { return len(reasons.Load().infos) }
