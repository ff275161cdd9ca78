package wasm

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/promethos/promethos/ppf"
)

// A cell holds the bytes that a module keeps with a connection, and the schema
// they are laid out by; 0 where nothing was written. Its sizes are classes, so
// that a new version of a module finds the cells of the one before.
type (
	smallCell struct {
		schema uint32
		data   [32]byte
	}
	largeCell struct {
		schema uint32
		data   [maxStorage]byte
	}
)

// column is a State of one of the classes.
type column interface {
	of(c *ppf.Conn) (schema *uint32, data []byte)
}

type (
	smallColumn struct{ *ppf.State[smallCell] }
	largeColumn struct{ *ppf.State[largeCell] }
)

func (s smallColumn) of(c *ppf.Conn) (*uint32, []byte) {
	cell := s.Of(c)
	return &cell.schema, cell.data[:]
}

func (s largeColumn) of(c *ppf.Conn) (*uint32, []byte) {
	cell := s.Of(c)
	return &cell.schema, cell.data[:]
}

// openColumns gives the column for n bytes per connection, and the one of
// another class that the version before left, if it did.
func openColumns(h *ppf.ModuleHost, n int) (now, before column) {
	switch {
	case n == 0:
	case n <= len(smallCell{}.data):
		now = smallColumn{ppf.NewState[smallCell](h)}
		if s := ppf.TakeState[largeCell](h); s != nil {
			before = largeColumn{s}
		}
	default:
		now = largeColumn{ppf.NewState[largeCell](h)}
		if s := ppf.TakeState[smallCell](h); s != nil {
			before = smallColumn{s}
		}
	}
	return now, before
}

// loadColumn finds the bytes of the packet's connection and puts them into the
// exchange area. What a version before wrote by another schema is migrated now,
// with the connection's first packet.
func (g *guest) loadColumn() error {
	g.column = nil
	n := g.m.manifest.Storage.Connection
	if n == 0 {
		return nil
	}
	if g.x.Conn != nil {
		schema, data := g.m.column.of(g.x.Conn)
		if want := g.m.schema(); *schema != want {
			if err := g.renew(schema, data, want); err != nil {
				return err
			}
		}
		g.column = data[:n]
	}
	area, ok := g.mod.Memory().Read(g.area+areaDescriptor, descriptorSize)
	if !ok {
		return errors.New("its exchange area is gone")
	}
	le.PutUint32(area[dStorageLen:], uint32(len(g.column)))
	clear(area[dStorage : dStorage+n])
	copy(area[dStorage:], g.column)
	return nil
}

// renew makes a connection's bytes fit the schema: by the guest's migrate
// function, or empty.
func (g *guest) renew(schema *uint32, data []byte, want uint32) error {
	old, from := data, *schema
	if from == 0 && g.m.columnBefore != nil {
		was, bytes := g.m.columnBefore.of(g.x.Conn)
		old, from = bytes, *was
		*was = 0
	}
	if from == want {
		*schema = want
		copy(data, old)
		return nil
	}
	kept := [maxStorage]byte{}
	if from != 0 {
		n, err := g.callMigrate(migrateConnection, from, old, kept[:g.m.manifest.Storage.Connection])
		if err != nil {
			return err
		}
		if !n {
			g.m.dropped.Add(1)
		}
	}
	*schema = want
	clear(data)
	copy(data, kept[:len(data)])
	return nil
}

// What promethos_migrate is called for.
const (
	migrateConnection = 0
	migrateInstance   = 1
)

// callMigrate lets the guest lay out bytes anew, in its exchange area. It
// reports false where the guest cannot.
func (g *guest) callMigrate(what uint64, from uint32, old, to []byte) (bool, error) {
	if g.migrate == nil {
		return false, nil
	}
	at := g.area + areaDescriptor + dStorage
	if !g.mod.Memory().Write(at, old[:min(len(old), maxStorage)]) {
		return false, errors.New("its exchange area is gone")
	}
	// from is the schema less one, as the manifest has it.
	code, err := g.call(g.migrate, startFuel, what, uint64(from-1), uint64(at), uint64(len(to)))
	if err != nil {
		return false, fmt.Errorf("%s: %w", exportMigrate, err)
	}
	if uint32(code) != 0 {
		return false, nil
	}
	b, ok := g.mod.Memory().Read(at, uint32(len(to)))
	if !ok {
		return false, errors.New("its exchange area is gone")
	}
	copy(to, b)
	return true, nil
}

// schema is the number that stands in cells: one more than the manifest's, as 0
// marks an empty cell.
func (m *module) schema() uint32 { return m.manifest.Storage.Schema + 1 }

// instanceStore holds the bytes of one function of one proxy instance. It goes
// over to a later binding of the same, also of a reloaded module.
type instanceStore struct {
	mu   sync.Mutex
	data []byte
}

// storeOf finds or makes the bytes of a binding; mu is held.
func (m *module) storeOf(b *binding) (*instanceStore, error) {
	if old := m.bindingOf(b); old != nil {
		return old.store, nil
	}
	fresh := &instanceStore{data: make([]byte, m.manifest.Storage.Instance)}
	if m.before == nil {
		return fresh, nil
	}
	old := m.before.bindingOf(b)
	if old == nil || len(old.store.data) == 0 {
		return fresh, nil
	}
	if m.before.schema() == m.schema() && len(old.store.data) == len(fresh.data) {
		return old.store, nil
	}
	old.store.mu.Lock()
	defer old.store.mu.Unlock()
	_, err := m.trial.callMigrate(migrateInstance, m.before.schema(), old.store.data, fresh.data)
	return fresh, err
}

// bindingOf finds the last binding of the same function to the same instance.
func (m *module) bindingOf(b *binding) *binding {
	if b.instance == 0 {
		return nil // it is being prepared, and bound again when it is put to use
	}
	name := b.m.manifest.Functions[b.function].Name
	for _, have := range slices.Backward(*m.bindings.Load()) {
		if have.instance == b.instance && m.manifest.Functions[have.function].Name == name {
			return have
		}
	}
	return nil
}

// succeed takes over what a version before kept, and says what becomes of it.
func (m *module) succeed(old *module) {
	old.mu.Lock()
	old.next = m
	old.mu.Unlock()
	m.before = old
	from, to := old.manifest.Storage, m.manifest.Storage
	if from == to {
		m.shared = old.shared
		return
	}
	if from.Connection == 0 && from.Instance == 0 {
		return
	}
	becomes := "dropped, as it has no " + exportMigrate
	if m.trial.migrate != nil {
		becomes = "migrated: a connection's with its next packet"
	}
	m.event("storage of schema %d is %s; shared data is dropped", from.Schema, becomes)
}

// store finds the part of an instance's bytes that a call is about.
func (g *guest) store(handle, off, n uint64) (s *instanceStore, from, to uint64) {
	b := g.binding(handle)
	from, to = uint64(uint32(off)), uint64(uint32(off))+uint64(uint32(n))
	if to > uint64(len(b.store.data)) {
		g.fail("bytes %d to %d of an instance's %d", from, to, len(b.store.data))
	}
	return b.store, from, to
}

// callInstanceRead copies bytes of an instance into the guest's memory.
func (g *guest) callInstanceRead(s []uint64) {
	store, from, to := g.store(s[0], s[1], s[3])
	b := g.bytes(s[2], s[3])
	store.mu.Lock()
	defer store.mu.Unlock()
	s[0] = uint64(copy(b, store.data[from:to]))
}

// callInstanceWrite copies bytes of the guest's memory to an instance.
func (g *guest) callInstanceWrite(s []uint64) {
	store, from, to := g.store(s[0], s[1], s[3])
	b := g.bytes(s[2], s[3])
	store.mu.Lock()
	defer store.mu.Unlock()
	s[0] = uint64(copy(store.data[from:to], b))
}

// callInstanceAdd adds to a number of 64 bits of an instance and gives the sum:
// no other worker comes between.
func (g *guest) callInstanceAdd(s []uint64) {
	store, from, to := g.store(s[0], s[1], 8)
	store.mu.Lock()
	defer store.mu.Unlock()
	sum := le.Uint64(store.data[from:to]) + s[2]
	le.PutUint64(store.data[from:to], sum)
	s[0] = sum
}

// sharedStore is the bytes that all workers and instances of a module share, by
// name.
type sharedStore struct {
	mu     sync.Mutex
	values map[string][]byte
	used   int // bytes of names and values
	limit  int
}

func newSharedStore(limit int) *sharedStore {
	return &sharedStore{values: map[string][]byte{}, limit: limit}
}

// set replaces a value, or with an empty one removes it. It reports false where
// the limit is reached.
func (s *sharedStore) set(name string, value []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, had := s.values[name]
	used := s.used + len(value)
	if had {
		used -= len(old)
	} else {
		used += len(name)
	}
	if len(value) == 0 {
		if had {
			delete(s.values, name)
			s.used = used - len(name)
		}
		return true
	}
	if used > s.limit {
		return false
	}
	s.values[name], s.used = append(old[:0:0], value...), used
	return true
}

// callSharedGet copies a shared value; the answer is its whole length.
func (g *guest) callSharedGet(s []uint64) {
	name, room := g.bytes(s[0], s[1]), g.bytes(s[2], s[3])
	shared := g.m.shared
	shared.mu.Lock()
	defer shared.mu.Unlock()
	value, ok := shared.values[string(name)]
	if !ok {
		s[0] = uint64(callMissing)
		return
	}
	copy(room, value)
	s[0] = uint64(len(value))
}

// callSharedSet replaces a shared value.
func (g *guest) callSharedSet(s []uint64) {
	name, value := g.bytes(s[0], s[1]), g.bytes(s[2], s[3])
	s[0] = callOK
	if !g.m.shared.set(string(name), value) {
		s[0] = uint64(callMissing)
	}
}

// callDataHas looks into a data module: 4 or 16 bytes are an address, or else a
// word, as other lengths are.
func (g *guest) callDataHas(s []uint64) {
	name, key := g.bytes(s[0], s[1]), g.bytes(s[2], s[3])
	d := g.m.host.Data(string(name))
	if d == nil {
		s[0] = uint64(callMissing)
		return
	}
	s[0] = 0
	if hasKey(d, key) {
		s[0] = 1
	}
}

func hasKey(d *ppf.Data, key []byte) bool {
	a, ok := netip.AddrFromSlice(key)
	return ok && d.HasAddr(a) || d.HasWord(key)
}
