package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/nfqueue"
)

// next reads the configuration for a reload, and tells how many instances of it are
// the file's. Problems of the file are in the result; the running configuration
// stays then.
func (d *Daemon) next() (spec *ppf.Spec, ofFile int, r control.ReloadResult, err error) {
	r = control.ReloadResult{Changes: []string{}, Problems: []string{}}
	spec, err = d.load()
	var wrong *ConfigError
	if errors.As(err, &wrong) {
		for _, p := range wrong.Problems {
			r.Problems = append(r.Problems, p.Error())
		}
		return nil, 0, r, nil
	}
	if err != nil {
		return nil, 0, r, err
	}
	ofFile = len(spec.Instances)
	if r.Problems = append(r.Problems, d.withAdded(spec)...); len(r.Problems) > 0 {
		return nil, 0, r, nil
	}
	return spec, ofFile, r, nil
}

// PlanReload tells what Reload would do; see control.Backend.
func (d *Daemon) PlanReload(context.Context) (control.ReloadResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	spec, _, r, err := d.next()
	if err != nil || spec == nil {
		return r, err
	}
	for _, c := range ppf.Diff(d.spec, spec) {
		r.Changes = append(r.Changes, c.String())
	}
	r.Changes = append(r.Changes, d.waiting(spec)...)
	return r, nil
}

// waiting lists the settings of a file that need a restart to count.
func (d *Daemon) waiting(spec *ppf.Spec) (list []string) {
	for _, s := range []struct {
		name    string
		changed bool
	}{
		{"control", d.options.Control == "" && spec.Control != d.spec.Control},
		{"queue", spec.QueueFirst != d.spec.QueueFirst},
		{"metrics", spec.Metrics != d.spec.Metrics},
		{"log", spec.Log != d.spec.Log},
		{"drops", spec.Drops != d.spec.Drops},
		{"watch", spec.Watch != d.spec.Watch || spec.Watch && !slices.Equal(spec.Folders, d.spec.Folders)},
	} {
		if s.changed {
			list = append(list, fmt.Sprintf("restart %s: counts from the next start on", s.name))
		}
	}
	return list
}

// Reload reads the configuration again; see control.Backend.
func (d *Daemon) Reload(context.Context) (control.ReloadResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	spec, ofFile, r, err := d.next()
	if err != nil {
		return r, err
	}
	if spec == nil {
		d.say("reload refused: %d problems in %s; the running configuration stays", len(r.Problems), d.options.Path)
		return r, nil
	}
	waiting := d.waiting(spec)
	changes, err := d.put(spec)
	if err != nil {
		return control.ReloadResult{}, err
	}
	d.ofFile = ofFile
	for _, c := range changes {
		r.Changes = append(r.Changes, c.String())
	}
	r.Changes = append(r.Changes, waiting...)
	d.say("reloaded %s: %d instances", d.options.Path, len(spec.Instances))
	return r, nil
}

// put puts a configuration to use. What the kernel or an interface refuses is taken
// back: after an error the one before is in use again. d.mu is held.
func (d *Daemon) put(spec *ppf.Spec) ([]ppf.Change, error) {
	if takesPackets(spec) && len(spec.Instances) > 0 || errors.Is(d.noPackets, nfqueue.ErrClaimed) && len(pairsOf(spec)) > 0 {
		if err := d.mayTake("reload"); err != nil {
			return nil, err
		}
	}
	opened, err := d.openWires(spec)
	if err != nil {
		return nil, errors.Join(err, d.hear())
	}
	changes, settle, err := d.engine.Try(spec)
	if err != nil {
		return nil, errors.Join(err, d.closeWires(opened), d.hear())
	}
	// What is bound stays as it is until a restart.
	was := d.spec
	spec.Control, spec.QueueFirst, spec.Metrics, spec.Log, spec.Drops = was.Control, was.QueueFirst, was.Metrics, was.Log, was.Drops
	spec.Watch, spec.Folders = was.Watch, was.Folders
	d.spec = spec
	var plan *rules.Plan
	listeners, err := d.streams.Prepare(spec.Instances)
	if err == nil {
		if plan, err = d.changeRules(); err != nil {
			listeners.Cancel()
		} else {
			err = listeners.Use()
		}
	}
	if err != nil {
		d.spec = was
		_, back := d.engine.Apply(was)
		return nil, errors.Join(fmt.Errorf("%w; the configuration before is in use again", err),
			back, d.selectPackets(), d.streams.Set(was.Instances), d.closeWires(opened), d.hear())
	}
	err = errors.Join(settle(), d.trimTransparent(plan))
	d.startWires(opened)
	return changes, errors.Join(err, d.dropWires(spec))
}

// reloadChanged reloads because a file has changed; whoever changed it reads of a
// problem in the log.
func (d *Daemon) reloadChanged() {
	r, err := d.Reload(d.ctx)
	if err != nil {
		d.say("reload: %v", err)
	}
	for _, p := range r.Problems {
		d.say("%s", p)
	}
}
