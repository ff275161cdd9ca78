package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/control/web"
	_ "github.com/promethos/promethos/data" // data modules
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/host"
	"github.com/promethos/promethos/source/nfqueue"
	"github.com/promethos/promethos/stream"
	_ "github.com/promethos/promethos/wasm" // modules of WebAssembly files
)

// Version is the program's version.
const Version = "0.1.0"

// maxWorkers bounds the queues; more than cores help nobody.
const maxWorkers = 16

// SelftestResult is where `promethos selftest` keeps its result, and the web page
// looks for it.
const SelftestResult = "/var/lib/promethos/selftest.json"

// Options configure a daemon.
type Options struct {
	// Path is the configuration file.
	Path string
	// Control replaces the file's control socket where it is set.
	Control string
	// State is the folder of what outlives the daemon where the file names none; "":
	// that of the control socket.
	State string
	// Log is where events are logged; nil: nowhere.
	Log io.Writer
	// Warn is told of doubtful things in the configuration.
	Warn func(ppf.Problem)
}

// Daemon is a running proxy. It works in the network namespace of the thread
// that called Start.
type Daemon struct {
	options  Options
	host     *host.Host
	kernel   *rules.Kernel
	claim    *nfqueue.Claim // that no other daemon works here; nil: rules are not touched
	features rules.Features
	engine   *ppf.Engine
	listener net.Listener
	server   *control.Server

	watcher      *watcher     // nil: files are not watched
	pageListener net.Listener // of metrics and web page; nil: none
	page         *web.Server

	mu     sync.Mutex // one change at a time
	spec   *ppf.Spec
	closed *nfqueue.Source // the queues of instances that fail closed
	// opening is theirs for SYNs.
	opening *nfqueue.Source
	// noPackets says why there are neither rules nor queues; kernel, closed and
	// opening are nil then. It does not change.
	noPackets error
	open      *nfqueue.Source // that of instances that fail open; nil until there is one
	// streams are the listeners of instances with source: listen.
	streams     *stream.Listeners
	transparent transparent
	wires       wires
	ofFile      int        // how many instances of spec are the file's; they come first
	added       []addition // what stands behind them
	lastAdded   int        // number of the last addition
	over        bool       // Stop has begun
	state       state

	journal sync.WaitGroup
	running sync.WaitGroup
	stopped chan struct{} // closed when a source ended by itself
	stop    context.CancelFunc
	// endJournal lets the journal write what is left and end.
	endJournal context.CancelFunc
	ctx        context.Context // the daemon's own life
	failure    error
	once       sync.Once
}

var _ control.Backend = (*Daemon)(nil)

// ConfigError is a configuration that was refused, with all its problems.
type ConfigError struct{ Problems []ppf.Problem }

func (e *ConfigError) Error() string {
	return ppf.DecodeError(e.Problems).Error()
}

// load reads the configuration and tells warnings.
func (d *Daemon) load() (*ppf.Spec, error) {
	spec, problems := config.Load(d.options.Path)
	wrong := slices.DeleteFunc(slices.Clone(problems), func(p ppf.Problem) bool { return p.Warning })
	if len(wrong) > 0 {
		return nil, &ConfigError{wrong}
	}
	for _, p := range problems {
		if d.options.Warn != nil {
			d.options.Warn(p)
		}
	}
	return spec, nil
}

// Start brings everything up; when it returns, packets are handled. On error
// nothing is left behind.
func Start(o Options) (_ *Daemon, err error) {
	d := &Daemon{options: o, stopped: make(chan struct{})}
	d.ctx, d.stop = context.WithCancel(context.Background())
	if d.spec, err = d.load(); err != nil {
		return nil, err
	}
	var undo []func()
	defer func() {
		if err != nil {
			d.stop()
			for _, f := range slices.Backward(undo) {
				f()
			}
		}
	}()
	d.ofFile = len(d.spec.Instances)
	if o.Control != "" {
		d.spec.Control = o.Control
	}
	// What the kernel lacks or forbids comes first: it is the clearest message.
	if d.host, err = host.Open(); err != nil {
		return nil, err
	}
	undo = append(undo, d.host.Close)
	undo = append(undo, func() { d.closeKernel() })
	if err = d.openKernel(); err != nil {
		return nil, err
	}
	if d.listener, err = control.Listen(d.spec.Control); err != nil {
		return nil, err
	}
	undo = append(undo, func() { d.listener.Close() })
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	if err = d.openQueues(workers); err != nil {
		return nil, err
	}
	if d.spec.Metrics != "" {
		if d.pageListener, err = net.Listen("tcp", d.spec.Metrics); err != nil {
			return nil, fmt.Errorf("metrics: %w (set `metrics:` to an address of this machine and a free port)", err)
		}
		undo = append(undo, func() { d.pageListener.Close() })
	}
	if d.spec.Watch {
		if d.watcher, err = watchFolders(d.spec.Folders); err != nil {
			return nil, err
		}
		undo = append(undo, func() { d.watcher.file.Close() })
	}
	d.engine, err = ppf.New(ppf.Options{Env: d.host, Workers: workers + 2 + wireWorkers(d.spec), PluginConfig: d.spec.Plugins})
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { d.engine.Close(context.Background()) })
	undo = append(undo, func() {
		d.closeTransparent()
		d.running.Wait()
		for _, s := range []*nfqueue.Source{d.transparent.held, d.open} {
			if s != nil {
				s.Close()
			}
		}
	})
	if d.closed != nil {
		d.engine.SetEmitter(d.closed.Emit)
	}
	d.wires.free = d.engine.Handlers()[workers+2:]
	// A killed predecessor's rules already lead to our queues: nothing is judged
	// before the instances are there.
	if _, err = d.engine.Apply(d.spec); err != nil {
		return nil, err
	}
	d.streams = stream.NewListeners(d.engine)
	undo = append(undo, d.streams.Close)
	if err = d.streams.Set(d.spec.Instances); err != nil {
		return nil, err
	}
	before := rules.StateNone
	if d.noPackets == nil {
		if before, err = d.kernel.State(); err != nil {
			return nil, err
		}
	}
	opened, err := d.openWires(d.spec)
	undo = append(undo, func() { d.endWires() })
	if err != nil {
		return nil, err
	}
	d.openState(before)
	undo = append(undo, func() { d.endState() })
	d.startWires(opened)
	if d.noPackets == nil {
		d.run(d.closed, d.engine.Handlers()[:workers])
		d.run(d.opening, d.engine.Handlers()[workers+1:][:1])
		undo = append(undo, func() {
			if before == rules.StateNone { // else the servers stay closed, as they were
				_ = d.kernel.Remove()
			}
		})
		if err = d.selectPackets(); err != nil {
			return nil, err
		}
		if before != rules.StateNone {
			d.say("rules of a predecessor (%v) were replaced in one transaction", before)
		}
	}
	d.keepJournal()
	undo = append(undo, func() {
		d.endJournal()
		d.journal.Wait()
	})
	if d.noPackets != nil {
		d.running.Go(d.tick)
	}
	d.server = control.NewServer(d)
	undo = append(undo, func() { _ = d.server.Shutdown(context.Background()) })
	d.running.Go(func() { d.fail(d.server.Serve(d.listener)) })
	if d.pageListener != nil {
		d.page = web.NewServer(d, web.Options{Selftest: SelftestResult})
		undo = append(undo, func() { _ = d.page.Shutdown(context.Background()) })
		d.running.Go(func() { d.fail(d.page.Serve(d.pageListener)) })
	}
	if d.watcher != nil {
		d.running.Go(func() { d.fail(d.watcher.changes(d.ctx, d.reloadChanged)) })
	}
	if err = d.state.started(); err != nil {
		return nil, err
	}
	d.say("ready: %d instances, %s", len(d.spec.Instances), d.sources())
	return d, nil
}

// sources describes where packets come from.
func (d *Daemon) sources() string {
	text := fmt.Sprintf("no queues: %v", d.noPackets)
	if d.noPackets == nil {
		text = fmt.Sprintf("%d queues from %d on, %v", d.closed.Workers(), d.spec.QueueFirst, d.features.Queue)
	}
	for _, w := range d.wires.open {
		text += fmt.Sprintf(", inline pair %s, %s", w.source.Pair().Client, w.source.Pair().Server)
	}
	return text
}

// tick does what the first queue's worker does between batches, where there are no
// queues: timers of modules are due there too.
func (d *Daemon) tick() {
	const every = 100 * time.Millisecond
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-t.C:
			d.engine.Handlers()[0].Tick(d.host.Now())
		}
	}
}

// keepJournal starts to log events, as the file says at the start; a reload does
// not change it. It ends after everything that adds events.
func (d *Daemon) keepJournal() {
	ctx, end := context.WithCancel(context.Background())
	j := newJournal(d.options.Log, d.spec.Log, d.spec.Drops)
	d.journal.Go(func() { j.run(ctx, d.engine.Events()) })
	d.endJournal = end
}

// queueConfig is what all queues have in common.
func (d *Daemon) queueConfig(q rules.Queues) nfqueue.Config {
	c := nfqueue.Config{Mark: rules.Mark, Judged: rules.JudgedMark, Now: d.host.Now}
	for i := range q.Count {
		c.Queues = append(c.Queues, q.First+i)
	}
	return c
}

func (d *Daemon) run(s *nfqueue.Source, handlers []ppf.Handler) {
	d.running.Go(func() { d.fail(s.Run(d.ctx, handlers)) })
}

// fail ends the daemon because a part of it ended with an error.
func (d *Daemon) fail(err error) {
	if err != nil {
		d.once.Do(func() {
			d.failure = err
			close(d.stopped)
		})
	}
}

func (d *Daemon) say(format string, args ...any) {
	d.engine.Events().Add(ppf.Event{Kind: ppf.EventDaemon, Text: fmt.Sprintf(format, args...)})
}

// Stopped is closed when a part of the daemon failed while it was running; Stop
// then returns why.
func (d *Daemon) Stopped() <-chan struct{} { return d.stopped }

// plan is what the kernel shall select for the rules that are there now.
func (d *Daemon) plan() rules.Plan {
	p := Plan(d.spec, d.engine)
	p.Closed.Count = uint16(d.closed.Workers())
	return p
}

// openingQueue is where a file's queues have the one for SYNs.
func openingQueue(spec *ppf.Spec) rules.Queues {
	return rules.Queues{First: spec.QueueFirst + maxWorkers + 2, Count: 1}
}

// Plan tells what the kernel shall select for the rules of an engine.
func Plan(spec *ppf.Spec, e *ppf.Engine) rules.Plan {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	p := rules.Plan{
		Closed:  rules.Queues{First: spec.QueueFirst, Count: uint16(workers)},
		Open:    rules.Queues{First: spec.QueueFirst + maxWorkers, Count: 1},
		Hold:    spec.QueueFirst + maxWorkers + 1,
		Opening: openingQueue(spec), Flood: floodPerWorker * uint32(workers),

		Streams: streamsOf(e),
	}
	for _, r := range e.AllRules() {
		if r.Hooks[0] == ppf.HookNone {
			continue // a listener, which selects no packets
		}
		for _, h := range r.Hooks {
			if h.Inline() {
				continue // everything that comes in there is ours
			}
			p.Selectors = append(p.Selectors, rules.Selector{
				Instance: r.Name, Dir: r.Dir(), Hook: h, Early: r.Early, Criteria: r.Criteria, Fail: r.Fail,
			})
		}
		if r.Beside != ppf.HookNone {
			s := rules.Selector{
				Instance: r.Name, Dir: r.Dir(), Hook: r.Beside, Beside: true, Early: r.Beside == ppf.Prerouting, Criteria: r.Criteria, Fail: r.Fail,
			}
			s.Criteria.Protocol = packet.ProtoTCP
			p.Selectors = append(p.Selectors, s)
		}
	}
	for _, r := range e.AllRules() {
		if r.Hidden {
			p.Hidden = append(p.Hidden, rules.Selector{Instance: r.Name, Dir: r.Dir(), Hook: ppf.Output, Criteria: r.Criteria})
		}
	}
	for _, r := range e.RefuseRules() {
		for _, h := range r.Hooks {
			p.Refuse = append(p.Refuse, rules.Selector{Instance: r.Name, Dir: r.Dir(), Hook: h, Criteria: r.Criteria, Fail: r.Fail})
		}
	}
	return p
}

// selectPackets makes the kernel select what the engine's rules ask for; mu is held,
// or the daemon is not running yet.
func (d *Daemon) selectPackets() error {
	plan, err := d.changeRules()
	if err != nil {
		return err
	}
	return d.trimTransparent(plan)
}

// changeRules is selectPackets, but for the end of what the plan that it gives does
// not need any more. The plan is nil where no packets are selected.
func (d *Daemon) changeRules() (*rules.Plan, error) {
	if d.noPackets != nil {
		return nil, nil
	}
	p := d.plan()
	if d.open == nil && slices.ContainsFunc(p.Selectors, func(s rules.Selector) bool { return s.Fail == ppf.FailOpen }) {
		c := d.queueConfig(p.Open)
		c.FailOpen = true
		open, err := nfqueue.Open(c)
		if err != nil {
			return nil, err
		}
		d.open = open
		d.run(open, d.engine.Handlers()[d.closed.Workers():][:1])
	}
	if err := d.openTransparent(&p); err != nil {
		return nil, err
	}
	rs, err := rules.Compile(p, d.features)
	if err != nil {
		return nil, err
	}
	if err := d.kernel.Apply(rs); err != nil {
		return nil, err
	}
	d.engine.SetDefragmented(d.features.Defragment)
	return &p, nil
}

// Stop ends the daemon as on_exit says. It returns why a part of it failed, if
// one did.
func (d *Daemon) Stop(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	errs := []error{d.server.Shutdown(ctx)}
	d.endTransparent()
	errs = append(errs, d.leave(), d.closeTransparent())
	if d.page != nil {
		errs = append(errs, d.page.Shutdown(ctx))
	}
	d.streams.Close()
	d.stop()
	d.running.Wait()
	errs = append(errs, d.endWires())
	if d.open != nil {
		errs = append(errs, d.open.Close())
	}
	if d.transparent.held != nil {
		errs = append(errs, d.transparent.held.Close())
	}
	errs = append(errs, d.closeState(), d.engine.Close(ctx))
	d.endJournal()
	d.journal.Wait()
	d.host.Close()
	errs = append(errs, d.closeKernel())
	select {
	case <-d.stopped:
		errs = append(errs, d.failure)
	default:
	}
	return errors.Join(errs...)
}

// leave takes the rules away, or with on_exit: block turns them into drops.
func (d *Daemon) leave() error {
	if d.noPackets != nil {
		return nil
	}
	if d.spec.OnExit == ppf.ExitRemove {
		return d.kernel.Remove()
	}
	f := d.features
	f.Block = true
	rs, err := rules.Compile(d.plan(), f)
	if err != nil {
		return err
	}
	return d.kernel.Apply(rs)
}

// Engine is the running engine.
func (d *Daemon) Engine() *ppf.Engine { return d.engine }

// SourceStats counts packets per queue and port.
func (d *Daemon) SourceStats() ([]ppf.SourceStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sources []ppf.Source
	for _, q := range []*nfqueue.Source{d.closed, d.opening, d.open, d.transparent.held} {
		if q != nil {
			sources = append(sources, q)
		}
	}
	for _, w := range d.wires.open {
		sources = append(sources, w.source)
	}
	list := []ppf.SourceStats{}
	for _, s := range sources {
		more, err := s.Stats()
		if err != nil {
			return list, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// KernelLosses counts what the kernel dropped before us.
func (d *Daemon) KernelLosses() ([]ppf.KernelLoss, error) { return host.KernelLosses() }

// Status describes the daemon.
func (d *Daemon) Status() control.Status {
	s := control.Status{Version: Version, Config: d.options.Path, PID: os.Getpid(), Queue: "none"}
	if d.closed != nil {
		s.Queue, s.Workers = d.features.Queue.String(), d.closed.Workers()
	}
	return s
}

// Reconfig changes the plugin instance of a number.
func (d *Daemon) Reconfig(n ppf.InstanceNumber, config string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.engine.Reconfig(n, config); err != nil {
		return err
	}
	return d.selectPackets()
}
