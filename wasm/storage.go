package wasm

import (
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

// findColumn finds the bytes of the packet's connection, nil where there is none.
func (g *guest) findColumn(x *ppf.Exchange) (err error) {
	g.column = nil
	if g.m.manifest.Storage.Connection > 0 && x.Conn != nil {
		g.column, err = g.m.bytesOf(x.Conn, g.callMigrate)
	}
	return err
}

// putColumn writes them into the descriptor of a packet, and tells those behind it,
// which get them from there, that there are some.
func (g *guest) putColumn(a area, from, n int) {
	size := g.m.manifest.Storage.Connection
	if size == 0 {
		return
	}
	d := a.descriptor(from)
	clear(d[dStorage : dStorage+size])
	putStorage(d, g.column)
	for i := from + 1; i < n; i++ {
		le.PutUint32(a.descriptor(i)[dStorageLen:], uint32(len(g.column)))
	}
}

// putStorage writes kept bytes into a descriptor.
func putStorage(d, bytes []byte) {
	le.PutUint32(d[dStorageLen:], uint32(len(bytes)))
	copy(d[dStorage:], bytes)
}

// bytesOf finds the bytes that are kept with a locked connection. What a version
// before wrote by another schema is laid out anew by migrate, or dropped.
func (c *core) bytesOf(conn *ppf.Conn, migrate migration) ([]byte, error) {
	schema, data := c.column.of(conn)
	old, from := data, *schema
	if from == 0 && c.columnBefore != nil {
		was, bytes := c.columnBefore.of(conn)
		old, from = bytes, *was
		*was = 0
	}
	return c.upToDate(schema, data, old, from, migrate)
}

// bytesOfCell finds the bytes that are kept with a session.
func (c *core) bytesOfCell(cell *largeCell, migrate migration) ([]byte, error) {
	return c.upToDate(&cell.schema, cell.data[:], cell.data[:], cell.schema, migrate)
}

// migration lays out bytes anew, of a connection or an instance, that a version
// of another schema kept. It reports false where the module cannot.
type migration func(what uint64, from uint32, old, to []byte) (bool, error)

// upToDate gives the bytes that are kept in data by a schema. They are made of
// old ones, by the schema from, where data has none of this version.
func (c *core) upToDate(schema *uint32, data, old []byte, from uint32, migrate migration) ([]byte, error) {
	n := c.manifest.Storage.Connection
	want := c.schema()
	if *schema == want {
		return data[:n], nil
	}
	fresh := [maxStorage]byte{}
	switch {
	case from == want:
		copy(fresh[:], old)
	case from != 0:
		kept, err := migrate(migrateConnection, from, old, fresh[:n])
		if err != nil {
			return nil, err
		}
		if !kept {
			c.dropped.Add(1)
		}
	}
	*schema = want
	clear(data)
	copy(data, fresh[:n])
	return data[:n], nil
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
		return false, errArea
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
		return false, errArea
	}
	copy(to, b)
	return true, nil
}

// schema is the number that stands in cells: one more than the manifest's, as 0
// marks an empty cell.
func (c *core) schema() uint32 { return c.manifest.Storage.Schema + 1 }

// instanceStore holds the bytes of one function of one proxy instance. It goes
// over to a later binding of the same, also of a reloaded module.
type instanceStore struct {
	mu   sync.Mutex
	data []byte
}

// storeOf finds or makes the bytes of a binding; mu is held.
func (c *core) storeOf(b *binding) (*instanceStore, error) {
	if old := c.bindingOf(b); old != nil {
		return old.store, nil
	}
	fresh := &instanceStore{data: make([]byte, c.manifest.Storage.Instance)}
	if c.before == nil {
		return fresh, nil
	}
	old := c.before.bindingOf(b)
	if old == nil || len(old.store.data) == 0 {
		return fresh, nil
	}
	if c.before.schema() == c.schema() && len(old.store.data) == len(fresh.data) {
		return old.store, nil
	}
	if c.migrate == nil {
		return fresh, nil
	}
	old.store.mu.Lock()
	defer old.store.mu.Unlock()
	_, err := c.migrate(migrateInstance, c.before.schema(), old.store.data, fresh.data)
	return fresh, err
}

// bindingOf finds the last binding of the same function to the same instance.
func (c *core) bindingOf(b *binding) *binding {
	if b.instance == 0 {
		return nil // it is being prepared, and bound again when it is put to use
	}
	for _, have := range slices.Backward(*c.bindings.Load()) {
		if have.instance == b.instance && have.name == b.name {
			return have
		}
	}
	return nil
}

// succeed takes over what the version before kept, and says what becomes of it.
func (c *core) succeed() {
	k, ok := c.host.Predecessor().(hasCore)
	if !ok {
		return
	}
	old := k.itsCore()
	old.mu.Lock()
	old.next = c
	old.mu.Unlock()
	c.before = old
	from, to := old.manifest.Storage, c.manifest.Storage
	if from == to {
		c.shared = old.shared
		return
	}
	if from.Connection == 0 && from.Instance == 0 {
		return
	}
	becomes := "dropped, as it has no " + exportMigrate
	if c.migrate != nil {
		becomes = "migrated: a connection's with its next packet"
	}
	c.event("storage of schema %d is %s; shared data is dropped", from.Schema, becomes)
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

// callInstanceAdd adds to a number of 64 bits of an instance and gives the sum.
func (g *guest) callInstanceAdd(s []uint64) {
	store, from, _ := g.store(s[0], s[1], 8)
	s[0] = store.add(int(from), s[2])
}

// add adds to the number at an offset and gives the sum: no other worker comes
// between.
func (s *instanceStore) add(at int, delta uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := le.Uint64(s.data[at:]) + delta
	le.PutUint64(s.data[at:], sum)
	return sum
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

// get copies a value and gives its whole length, -1 where there is none.
func (s *sharedStore) get(name, to []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[string(name)]
	if !ok {
		return -1
	}
	copy(to, value)
	return len(value)
}

// callSharedGet copies a shared value; the answer is its whole length.
func (g *guest) callSharedGet(s []uint64) {
	s[0] = uint64(uint32(g.m.shared.get(g.bytes(s[0], s[1]), g.bytes(s[2], s[3]))))
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
