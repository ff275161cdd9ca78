package ppf

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Processor is a user function that has been made ready for one proxy
// instance. Process reads x.In, edits x.Out and answers with a verdict; Accept
// goes on to the next function of the flow. It must not block, and must not
// keep x or a slice reached through it. It is called by several workers at
// once, but for one connection by one worker at a time.
type Processor interface {
	Process(x *Exchange) Verdict
}

// ProcessFunc is a Processor without state of its own.
type ProcessFunc func(x *Exchange) Verdict

// Process calls f.
func (f ProcessFunc) Process(x *Exchange) Verdict { return f(x) }

// SentObserver is a Processor that wants to know that the packet it helped to
// build was really sent: received and sent states are kept apart, since a
// later function or a limit may still drop the packet (thesis 4.2.3). Sent runs
// after the verdict is final, with the same Exchange.
type SentObserver interface {
	Sent(x *Exchange)
}

// ConnObserver is a Processor that wants to know that a connection of its
// instance is about to be freed, or goes on without it because its function has
// left the instance's chains. The connection is locked.
type ConnObserver interface {
	Freed(c *Conn)
}

// UserFunction is one named step that a PFM registers (thesis 4.1.2,
// register_user_function).
type UserFunction struct {
	Name string
	Doc  string // one sentence
	// Module is the PFM that registered it; Register fills it in.
	Module string
	Level  Level
	// Produces is what the next function of the chain gets where that is not
	// Level: a function of level stream that parses messages produces them.
	Produces Level
	// Layer is the lowest layer of the OSI model that the function works on.
	Layer uint8
	// ExchangesAddress says that what this function sends carries other
	// addresses than what it received: replies must be taken before conntrack
	// and routing see them.
	ExchangesAddress bool
	// AnswersFirst says that a chain with this function connects to the server only
	// after it has talked to the client: handshake is first unless the
	// configuration says otherwise.
	AnswersFirst bool
	// Passes says that the function may send a received packet unchanged.
	Passes bool
	// Apart says of a function of packets that what it answers to one does not depend
	// on whether those before it were sent: functions that take several in one call may
	// stand in a chain with it.
	Apart bool
	// HandsOn says that a function of level stream ends no connection: another one
	// has to stand behind it.
	HandsOn bool
	// Lasting says that what BindStream or BindMessage gave goes on by itself with
	// the next version of the module: sessions need not end for a reload of it.
	Lasting bool
	// Settings returns a pointer to a new struct of defaults with `conf` tags,
	// decoded by Decode; nil where the function has no settings.
	Settings func() any
	// Bind makes the function ready for one proxy instance; both flows share
	// the result. It is called anew when the instance's settings change.
	Bind func(b Binding) (Processor, error)
	// BindStream and BindMessage are Bind for functions of these levels; a
	// function has the one of its level. What BindMessage returns is for the
	// function of the chain that produces messages.
	BindStream  func(b Binding) (StreamFunction, error)
	BindMessage func(b Binding) (any, error)
}

// Binding is what a user function gets to know of the instance it is bound to.
type Binding struct {
	Instance *ProxyInstance
	// Settings is what UserFunction.Settings made, with the configured values
	// filled in and validated; nil where there are no settings.
	Settings any
	Env      Env
	// Before is what the function was bound to in the instance's configuration so far,
	// nil where there was none: packets of its last batches may still come to it.
	Before Processor
}

// FunctionRegistry holds the user functions by name. Reading is lock-free.
type FunctionRegistry struct {
	mu     sync.Mutex // serialises writers
	byName atomic.Pointer[map[string]*UserFunction]
	// rebuild compiles all flows for a new set of functions and calls publish at
	// the moment when packets may see it.
	rebuild func(next map[string]*UserFunction, strict bool, publish func()) error
}

func newFunctionRegistry(rebuild func(map[string]*UserFunction, bool, func()) error) *FunctionRegistry {
	r := &FunctionRegistry{rebuild: rebuild}
	r.byName.Store(&map[string]*UserFunction{})
	return r
}

// Lookup finds a function by name.
func (r *FunctionRegistry) Lookup(name string) (*UserFunction, bool) {
	f, ok := (*r.byName.Load())[name]
	return f, ok
}

// List gives all functions, sorted by name.
func (r *FunctionRegistry) List() []*UserFunction {
	return slices.SortedFunc(maps.Values(*r.byName.Load()), func(a, b *UserFunction) int {
		return cmp.Compare(a.Name, b.Name)
	})
}

// register adds f; from the next packet on flows that name it run it. An
// instance that it cannot be bound to keeps a hole.
func (r *FunctionRegistry) register(f *UserFunction) error {
	return r.swap(nil, []*UserFunction{f}, false)
}

// unregister removes a function; it returns when no worker runs it any more.
func (r *FunctionRegistry) unregister(name string) {
	// It fails only where a function is added.
	_ = r.swap([]string{name}, nil, false)
}

// swap removes functions and adds others in one step for packets; it returns
// when no worker runs a removed one any more. With strict every instance has to
// be content with what will be there. On error nothing has changed.
func (r *FunctionRegistry) swap(remove []string, add []*UserFunction, strict bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(*r.byName.Load())
	for _, name := range remove {
		delete(next, name)
	}
	for _, f := range add {
		if f.Name == "" || f.Bind != nil != (f.Level == LevelPacket) || f.BindStream != nil != (f.Level == LevelStream) || f.BindMessage != nil != (f.Level == LevelMessage) {
			return fmt.Errorf("register user function %q: it needs a name and the Bind of its level", f.Name)
		}
		if have, taken := next[f.Name]; taken {
			return fmt.Errorf("register user function %q: module %s has registered that name (unload it first)", f.Name, have.Module)
		}
		next[f.Name] = f
	}
	return r.rebuild(next, strict, func() { r.byName.Store(&next) })
}
