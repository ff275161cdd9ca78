package packet

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Reason says why a packet was dropped or repaired. The high 16 bits are the
// number of the module that registered it, the low 16 bits its place in order
// of registration; 0 is ReasonNone. Numbers are good for one run of the program
// only; what is stored or shown is the name.
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

	numClasses
)

var classNames = [numClasses]string{"refused", "repaired", "rewritten"}

// String names the class: "refused", "repaired" or "rewritten".
func (c Class) String() string {
	if c < numClasses {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// ReasonInfo describes a Reason. It is shared by all who ask: CVE must not be
// changed.
type ReasonInfo struct {
	Name  string // stable and unique, such as "tcp.option.length-zero"
	Class Class
	Field string   // the field that the value belongs to: "tcp.option.length"
	Doc   string   // one sentence
	RFC   string   // number and section, "9293 §3.1"; empty where there is none
	CVE   []string // published vulnerabilities whose trigger this stops
	Trips string   // which legitimate traffic can trip it; "none known" is an answer
	Relax string   // the setting that relaxes it; empty where there is none
	// Repairable says that a Refused reason has one safe meaning after all, so
	// that an override may turn the refusal into a repair.
	Repairable bool
}

// reasonTable is one state of the registry. It is never changed: writers make a
// new one, so that readers need no lock.
type reasonTable struct {
	infos   []ReasonInfo // by index; 0 is ReasonNone
	reasons []Reason     // by index
	byName  map[string]Reason
	modules map[string]uint16
}

var (
	reasonMu sync.Mutex // serialises writers
	reasons  atomic.Pointer[reasonTable]
)

// maxReasons is how many reasons the low half of a Reason can tell apart.
const maxReasons = 1 << 16

// NewReason registers a reason for a module, named as its folder. It panics when
// the reason's name is taken or malformed: a name is two or more words of
// lowercase letters, digits and hyphens, separated by dots. It is safe for
// concurrent use, also with readers, and meant for package variables.
func NewReason(module string, info ReasonInfo) Reason {
	if !validReasonName(info.Name) {
		panic(fmt.Sprintf("register reason %q: malformed name (use lowercase words with hyphens, separated by dots)", info.Name))
	}
	reasonMu.Lock()
	defer reasonMu.Unlock()
	r, err := addReason(module, info)
	if err != nil {
		panic(fmt.Sprintf("register reason %s: %v", info.Name, err))
	}
	return r
}

// RenewReason is NewReason for modules that come and go: a reason that the same
// module registered before keeps its number and gets the new description, and
// what NewReason panics for is an error.
func RenewReason(module string, info ReasonInfo) (Reason, error) {
	if !validReasonName(info.Name) {
		return ReasonNone, fmt.Errorf("malformed name (use lowercase words with hyphens, separated by dots)")
	}
	reasonMu.Lock()
	defer reasonMu.Unlock()
	old := reasons.Load()
	if old == nil {
		return addReason(module, info)
	}
	r, had := old.byName[info.Name]
	if !had || old.modules[module] != uint16(r>>16) {
		return addReason(module, info)
	}
	next := *old
	next.infos = slices.Clone(old.infos)
	info.CVE = slices.Clone(info.CVE)
	next.infos[r.Index()] = info
	reasons.Store(&next)
	return r, nil
}

// addReason puts a reason into a new state of the registry; reasonMu is held.
func addReason(module string, info ReasonInfo) (Reason, error) {
	next := reasonTable{
		infos: []ReasonInfo{{Name: "none", Class: Rewritten}}, reasons: []Reason{ReasonNone},
		byName: map[string]Reason{}, modules: map[string]uint16{},
	}
	if old := reasons.Load(); old != nil {
		next = reasonTable{slices.Clone(old.infos), slices.Clone(old.reasons), maps.Clone(old.byName), maps.Clone(old.modules)}
	}
	if _, taken := next.byName[info.Name]; taken {
		return ReasonNone, errors.New("name already registered (choose another)")
	}
	if len(next.infos) == maxReasons {
		return ReasonNone, fmt.Errorf("all %d numbers are taken", maxReasons)
	}
	id, ok := next.modules[module]
	if !ok {
		id = uint16(len(next.modules) + 1)
		next.modules[module] = id
	}
	info.CVE = slices.Clone(info.CVE)
	r := Reason(id)<<16 | Reason(len(next.infos))
	next.infos = append(next.infos, info)
	next.reasons = append(next.reasons, r)
	next.byName[info.Name] = r
	reasons.Store(&next)
	return r, nil
}

func validReasonName(name string) bool {
	for word := range strings.SplitSeq(name, ".") {
		if word == "" || word[0] == '-' || word[len(word)-1] == '-' || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return strings.Contains(name, ".")
}

// Index is the reason's place in order of registration, from 1 on; 0 for
// ReasonNone. Counters are slices of ReasonCount elements by Index.
func (r Reason) Index() int { return int(r & (maxReasons - 1)) }

// Info describes the reason. For a number that nobody registered the name is
// "unregistered".
func (r Reason) Info() ReasonInfo {
	t := reasons.Load()
	if i := r.Index(); t != nil && i < len(t.infos) && t.reasons[i] == r {
		return t.infos[i]
	}
	return ReasonInfo{Name: "unregistered"}
}

// String is the reason's name.
func (r Reason) String() string { return r.Info().Name }

// ReasonByName finds a reason by its stable name.
func ReasonByName(name string) (Reason, bool) {
	t := reasons.Load()
	if t == nil {
		return ReasonNone, false
	}
	r, ok := t.byName[name]
	return r, ok
}

// Reasons lists all registered reasons, sorted by name. The slice is the
// caller's.
func Reasons() []Reason {
	t := reasons.Load()
	if t == nil {
		return nil
	}
	list := slices.Clone(t.reasons[1:])
	slices.SortFunc(list, func(a, b Reason) int { return cmp.Compare(t.infos[a.Index()].Name, t.infos[b.Index()].Name) })
	return list
}

// ReasonCount is one more than the highest Index, at least 1. It grows when a
// module is loaded.
func ReasonCount() int {
	if t := reasons.Load(); t != nil {
		return len(t.infos)
	}
	return 1
}
