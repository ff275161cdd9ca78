package ppf

import (
	"slices"
	"sync/atomic"
)

// stateColumn is a State of any type, as the table sees it.
type stateColumn interface{ clear(cell uint32) }

// State is typed state that a PFM adds to connections (thesis 4.1.1): one T per
// connection, zero at first, zeroed when the connection is freed. T should have
// no pointers, so that a large table costs the garbage collector nothing.
type State[T any] struct {
	pages atomic.Pointer[[]*[pageSize]T]
}

// NewState adds a column of T to the engine's connections; it goes when the
// module is unloaded. Called from Module.Start. Where the module takes another's
// place, the other's column of the same T is handed over with what it holds: the
// first that is not taken yet.
func NewState[T any](h *ModuleHost) *State[T] {
	if s := TakeState[T](h); s != nil {
		return s
	}
	s := &State[T]{}
	s.pages.Store(&[]*[pageSize]T{})
	t := h.engine.table
	t.statesMu.Lock()
	t.states = append(t.states, s)
	t.statesMu.Unlock()
	h.states = append(h.states, s)
	return s
}

// TakeState gives a column of T that the module whose place this one takes had,
// nil where there is none, or none left. Called from Module.Start.
func TakeState[T any](h *ModuleHost) *State[T] {
	if h.old == nil {
		return nil
	}
	for _, have := range h.old.states {
		if s, ok := have.(*State[T]); ok && !slices.Contains(h.states, have) {
			h.states = append(h.states, s)
			return s
		}
	}
	return nil
}

// Of gives the state of a locked connection. The pointer is good while the
// connection is locked. It allocates once per 1,024 connections.
func (s *State[T]) Of(c *Conn) *T {
	n := int(c.index >> pageBits)
	for {
		pages := s.pages.Load()
		if n < len(*pages) && (*pages)[n] != nil {
			return &(*pages)[n][c.index&(pageSize-1)]
		}
		next := slices.Clone(*pages)
		for len(next) <= n {
			next = append(next, nil)
		}
		next[n] = new([pageSize]T)
		s.pages.CompareAndSwap(pages, &next)
	}
}

func (s *State[T]) clear(cell uint32) {
	if pages := *s.pages.Load(); int(cell>>pageBits) < len(pages) && pages[cell>>pageBits] != nil {
		var zero T
		pages[cell>>pageBits][cell&(pageSize-1)] = zero
	}
}

// removeState takes a column out of the table.
func (t *Table) removeState(s stateColumn) {
	t.statesMu.Lock()
	defer t.statesMu.Unlock()
	t.states = slices.DeleteFunc(t.states, func(have stateColumn) bool { return have == s })
}
