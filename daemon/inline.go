package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/inline"
)

const (
	// maxPerPort bounds the workers of one port; a pair has twice as many.
	maxPerPort = 4
	// spareWires is how many pairs a reload can add.
	spareWires = 4
)

// perPort is how many workers share a port: a direction each for half of the cores.
func perPort() int { return min(max(runtime.GOMAXPROCS(0)/2, 1), maxPerPort) }

// wires are the inline pairs of a daemon; its mu guards them.
type wires struct {
	silence *rules.Silence
	open    []*wire
	free    []ppf.Handler // nobody's
	numbers map[ppf.InlinePair]uint8
}

// wire is one pair that is open, and what runs it.
type wire struct {
	source   *inline.Source
	handlers []ppf.Handler
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// pairsOf lists the inline pairs of a configuration.
func pairsOf(spec *ppf.Spec) []ppf.InlinePair {
	var pairs []ppf.InlinePair
	for i := range spec.Instances {
		if in := &spec.Instances[i]; in.Source == ppf.SourceInline && !slices.Contains(pairs, in.Inline) {
			pairs = append(pairs, in.Inline)
		}
	}
	return pairs
}

// Ports lists the interfaces of a configuration's inline pairs.
func Ports(spec *ppf.Spec) []string {
	var ports []string
	for _, p := range pairsOf(spec) {
		ports = append(ports, p.Client, p.Server)
	}
	return ports
}

// wireWorkers is how many workers the pairs of a configuration need, and those
// that a reload may add.
func wireWorkers(spec *ppf.Spec) int { return 2 * perPort() * (len(pairsOf(spec)) + spareWires) }

// openWires opens the pairs of spec that are not open yet, and starts none. On
// error none of them is open.
func (d *Daemon) openWires(spec *ppf.Spec) (opened []*wire, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.closeWires(opened))
			opened = nil
		}
	}()
	for _, pair := range pairsOf(spec) {
		if slices.ContainsFunc(d.wires.open, func(w *wire) bool { return w.source.Pair() == pair }) {
			continue
		}
		if d.wires.silence == nil {
			if d.wires.silence, err = rules.OpenSilence(); err != nil {
				return opened, err
			}
		}
		number, err := d.wires.number(pair)
		if err != nil {
			return opened, err
		}
		c := inline.Config{
			Pair: pair, Number: number, PerPort: perPort(), Mark: rules.Mark,
			Prepare: d.wires.silence.Add, Say: d.say, Now: d.host.Now,
		}
		if 2*c.PerPort > len(d.wires.free) {
			c.PerPort = 1
		}
		if 2*c.PerPort > len(d.wires.free) {
			return opened, fmt.Errorf("inline pair %s, %s: too many pairs were added since the start (restart the daemon)", pair.Client, pair.Server)
		}
		source, err := inline.Open(c)
		if err != nil {
			return opened, err
		}
		opened = append(opened, &wire{source: source, handlers: d.wires.free[:source.Workers()]})
		d.wires.free = d.wires.free[source.Workers():]
	}
	return opened, nil
}

// number names a pair as long as the daemon runs.
func (w *wires) number(pair ppf.InlinePair) (uint8, error) {
	if n, ok := w.numbers[pair]; ok {
		return n, nil
	}
	if len(w.numbers) == math.MaxUint8 {
		return 0, fmt.Errorf("inline pair %s, %s: the daemon has seen %d pairs (restart it)", pair.Client, pair.Server, math.MaxUint8)
	}
	if w.numbers == nil {
		w.numbers = map[ppf.InlinePair]uint8{}
	}
	n := uint8(len(w.numbers) + 1)
	w.numbers[pair] = n
	return n, nil
}

// startWires lets pairs carry frames.
func (d *Daemon) startWires(opened []*wire) {
	for _, w := range opened {
		ctx, stop := context.WithCancel(d.ctx)
		w.stop = stop
		w.running.Go(func() { d.fail(w.source.Run(ctx, w.handlers)) })
	}
	d.wires.open = append(d.wires.open, opened...)
}

// closeWires ends pairs that were opened, running or not.
func (d *Daemon) closeWires(list []*wire) error {
	var errs []error
	for _, w := range list {
		if w.stop != nil {
			w.stop()
			w.running.Wait()
		}
		errs = append(errs, w.source.Close())
		d.wires.free = append(d.wires.free, w.handlers...)
	}
	return errors.Join(errs...)
}

// dropWires closes the pairs that spec no longer has, and lets the host be heard
// at their ports.
func (d *Daemon) dropWires(spec *ppf.Spec) error {
	pairs := pairsOf(spec)
	var gone, kept []*wire
	for _, w := range d.wires.open {
		if slices.Contains(pairs, w.source.Pair()) {
			kept = append(kept, w)
		} else {
			gone = append(gone, w)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	d.wires.open = kept
	errs := []error{d.closeWires(gone), d.hear()}
	for _, w := range kept { // a port may have moved from one pair to another
		errs = append(errs, w.source.Ready())
	}
	return errors.Join(errs...)
}

// hear lets the host be heard again at ports that are of no pair of the running
// configuration.
func (d *Daemon) hear() error {
	if d.wires.silence == nil {
		return nil
	}
	return d.wires.silence.Keep(Ports(d.spec))
}

// endWires closes all pairs. The host stays silenced with on_exit: block.
func (d *Daemon) endWires() error {
	err := d.closeWires(d.wires.open)
	d.wires.open = nil
	if d.wires.silence == nil {
		return err
	}
	if d.spec.OnExit == ppf.ExitRemove {
		err = errors.Join(err, d.wires.silence.Keep(nil))
	}
	return errors.Join(err, d.wires.silence.Close())
}
