package daemon

import (
	"slices"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/host"
	"github.com/promethos/promethos/stream"
)

// transparent is what connections need that end on this host: listeners, and
// policy routing that brings their packets here. Its zero value has neither; the
// daemon's mu guards it.
type transparent struct {
	listeners *stream.Transparent
	diversion *host.Diversion
	diverted  bool
}

// streamsOf lists the connections of an engine's rules that end here.
func streamsOf(e *ppf.Engine) (list []rules.Stream) {
	for _, r := range e.AllRules() {
		if r.Ends != nil && r.Dir() == ppf.ClientToServer {
			list = append(list, rules.Stream{Criteria: r.Criteria, KeepsClient: r.Ends.KeepsClient()})
		}
	}
	return list
}

// openTransparent makes ready what the plan's connections need, before rules lead
// to it.
func (d *Daemon) openTransparent(p *rules.Plan) error {
	if len(p.Streams) == 0 {
		return nil
	}
	if d.transparent.listeners == nil {
		if err := d.kernel.ProbeStreams(); err != nil {
			return err
		}
		l, err := stream.OpenTransparent(d.engine, stream.Marks{Zoned: rules.ZonedMark, Plain: rules.SocketMark}, d.closed.Workers())
		if err != nil {
			return err
		}
		l.Run()
		d.transparent.listeners = l
	}
	p.Zoned, p.Plain = d.transparent.listeners.Ports()
	if d.transparent.diverted {
		return nil
	}
	if err := d.transparent.diversion.Add(rules.DivertMark, rules.Mark); err != nil {
		return err
	}
	d.transparent.diverted = true
	return nil
}

// trimTransparent ends what the plan does not need any more, once its rules are in
// place.
func (d *Daemon) trimTransparent(p *rules.Plan) error {
	t := &d.transparent
	if t.listeners != nil {
		all := d.engine.AllRules()
		t.listeners.Keep(func(name string) bool {
			return slices.ContainsFunc(all, func(r *ppf.Rule) bool { return r.Ends != nil && r.Name == name })
		})
	}
	if len(p.Streams) > 0 || t.diversion == nil {
		return nil
	}
	// What a killed predecessor left goes too.
	_, err := t.diversion.Remove()
	t.diverted = false
	return err
}

// endTransparent ends connections and listeners: what clients send is dropped by
// the rules until these go.
func (d *Daemon) endTransparent() {
	if d.transparent.listeners != nil {
		d.transparent.listeners.Close()
		d.transparent.listeners = nil
	}
}

// closeTransparent takes policy routing away, after the rules that need it.
func (d *Daemon) closeTransparent() error {
	d.endTransparent()
	if d.transparent.diversion == nil {
		return nil
	}
	var err error
	if d.transparent.diverted {
		_, err = d.transparent.diversion.Remove()
	}
	d.transparent.diversion.Close()
	d.transparent.diversion = nil
	return err
}
