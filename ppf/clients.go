package ppf

import (
	"fmt"
	"net/netip"
	"slices"
)

// AddrEntry is an entry of a setting that lists addresses: an address, a network, or
// `@NAME` for those of the data module NAME.
type AddrEntry struct {
	Prefix netip.Prefix
	Data   string // "": Prefix counts
}

// UnmarshalText reads one.
func (e *AddrEntry) UnmarshalText(b []byte) (err error) {
	if len(b) > 1 && b[0] == '@' {
		e.Data = string(b[1:])
		return nil
	}
	if e.Prefix, err = ParsePrefix(string(b)); err != nil {
		return fmt.Errorf("%w (and no @NAME of a data module)", err)
	}
	return nil
}

// String is the inverse.
func (e AddrEntry) String() string {
	if e.Data != "" {
		return "@" + e.Data
	}
	return e.Prefix.String()
}

// ClientLists tell who may be a client of an instance: settings `clients` and
// `refuse_clients` of user functions. nil lets everybody in. It is safe for concurrent
// use, and a data module that is reloaded counts from the next question on.
type ClientLists struct {
	lists [2]addrList
	only  bool // nobody but those of the first list
}

const (
	listAllowed = iota
	listRefused
)

type addrList struct {
	fixed *Data
	sets  []string // names of data modules
}

// ClientLists makes lists of settings; nil where both are empty. A data module that is
// not loaded is an error. Called when a function is bound.
func (h *ModuleHost) ClientLists(allowed, refused []AddrEntry) (*ClientLists, error) {
	if len(allowed)+len(refused) == 0 {
		return nil, nil
	}
	l := &ClientLists{only: len(allowed) > 0}
	for i, entries := range [][]AddrEntry{listAllowed: allowed, listRefused: refused} {
		var prefixes []netip.Prefix
		for _, e := range entries {
			switch {
			case e.Data == "":
				prefixes = append(prefixes, e.Prefix)
			case h.Data(e.Data) == nil:
				return nil, fmt.Errorf("@%s: no data module of that name is loaded (put %s.data.json into a folder of module_dirs)", e.Data, e.Data)
			case !slices.Contains(l.lists[i].sets, e.Data):
				l.lists[i].sets = append(l.lists[i].sets, e.Data)
			}
		}
		l.lists[i].fixed = NewData(prefixes, nil)
	}
	return l, nil
}

// UsesData reports whether a data module is one of the lists.
func (l *ClientLists) UsesData(name string) bool {
	return l != nil && (slices.Contains(l.lists[listAllowed].sets, name) || slices.Contains(l.lists[listRefused].sets, name))
}

// Judge tells whether an address may be a client's. known is false where that hangs
// on a data module that is not loaded any more.
func (l *ClientLists) Judge(h *ModuleHost, a netip.Addr) (may, known bool) {
	if l == nil {
		return true, true
	}
	if l.only {
		if in, known := l.lists[listAllowed].has(h, a); !in {
			return false, known
		}
	}
	in, known := l.lists[listRefused].has(h, a)
	return !in && known, known
}

func (l *addrList) has(h *ModuleHost, a netip.Addr) (in, known bool) {
	if l.fixed.HasAddr(a) {
		return true, true
	}
	known = true
	for _, name := range l.sets {
		d := h.Data(name)
		if d == nil {
			known = false
		} else if d.HasAddr(a) {
			return true, true
		}
	}
	return false, known
}
