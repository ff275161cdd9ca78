package daemon

import (
	"context"
	"fmt"
	"slices"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/control"
	"github.com/promethos/promethos/ppf"
)

// addition is what a command has put beside the instances of the file, for as long
// as it runs. It survives a reload.
type addition struct {
	id        int
	instances []ppf.InstanceSpec
}

// Add puts instances to use beside those of the file; see control.Backend.
func (d *Daemon) Add(_ context.Context, yaml string) (id int, r control.ReloadResult, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastAdded++
	r, err = d.putAdded(addition{id: d.lastAdded}, yaml)
	return d.lastAdded, r, err
}

// ChangeAdded replaces what Add has put to use; see control.Backend.
func (d *Daemon) ChangeAdded(_ context.Context, id int, yaml string) (control.ReloadResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.ContainsFunc(d.added, func(a addition) bool { return a.id == id }) {
		return control.ReloadResult{}, fmt.Errorf("addition %d: it is not there (its command has ended)", id)
	}
	return d.putAdded(addition{id: id}, yaml)
}

// RemoveAdded takes back what Add has put to use; see control.Backend.
func (d *Daemon) RemoveAdded(_ context.Context, id int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over || !slices.ContainsFunc(d.added, func(a addition) bool { return a.id == id }) {
		return nil
	}
	_, err := d.putAdded(addition{id: id}, "")
	return err
}

// putAdded parses what an addition is to be, "" for nothing, and puts it to use;
// d.mu is held. On an error or a problem all is as before.
func (d *Daemon) putAdded(a addition, yaml string) (control.ReloadResult, error) {
	r := control.ReloadResult{Changes: []string{}, Problems: []string{}}
	before := d.added
	others := slices.DeleteFunc(slices.Clone(before), func(o addition) bool { return o.id == a.id })
	spec := *d.spec
	spec.Instances = slices.Clone(d.spec.Instances[:d.ofFile])
	if yaml != "" {
		parsed, problems := config.Parse("added", []byte(yaml))
		for _, p := range problems {
			if !p.Warning {
				r.Problems = append(r.Problems, p.Error())
			}
		}
		if len(r.Problems) > 0 {
			return r, nil
		}
		a.instances = parsed.Instances
		others = append(others, a)
	}
	d.added = others
	if r.Problems = append(r.Problems, d.withAdded(&spec)...); len(r.Problems) > 0 {
		d.added = before
		return r, nil
	}
	changes, err := d.put(&spec)
	if err != nil {
		d.added = before
		return r, err
	}
	for _, c := range changes {
		if c.What != "keep" {
			r.Changes = append(r.Changes, c.String())
		}
	}
	d.say("%d instances run beside the %d of %s", len(spec.Instances)-d.ofFile, d.ofFile, d.options.Path)
	return r, nil
}

// withAdded appends the additions to a file's instances, but for those that the
// file has too. It tells what cannot be: names that stand twice, and instances that
// would take an addition's traffic before it.
func (d *Daemon) withAdded(spec *ppf.Spec) (problems []string) {
	inFile := len(spec.Instances)
	for _, a := range d.added {
		before := spec.Instances
		for _, in := range a.instances {
			if slices.ContainsFunc(spec.Instances[:inFile], func(old ppf.InstanceSpec) bool { return same(&old, &in) }) {
				continue
			}
			for i := range before {
				old := &before[i]
				switch {
				case old.Name == in.Name:
					problems = append(problems, fmt.Sprintf("instance %s is there already (end what made it, or change it in %s and `promethos reload`)", in.Name, d.options.Path))
				case config.Shadows(old, &in):
					problems = append(problems, fmt.Sprintf("instance %s takes traffic of %s already (change it in %s and `promethos reload`)", old.Name, in.Name, d.options.Path))
				case sharesPort(old.Inline, in.Inline):
					problems = append(problems, fmt.Sprintf("instance %s uses a port of %s in another pair (name ports that are free)", old.Name, in.Name))
				}
			}
			spec.Instances = append(spec.Instances, in)
		}
	}
	return problems
}

// same reports whether a file says of an instance what an addition says.
func same(a, b *ppf.InstanceSpec) bool {
	if a.Name != b.Name {
		return false
	}
	changes := ppf.Diff(&ppf.Spec{Instances: []ppf.InstanceSpec{*a}}, &ppf.Spec{Instances: []ppf.InstanceSpec{*b}})
	return len(changes) == 1 && changes[0].What == "keep"
}

// sharesPort reports whether two different pairs have an interface in common.
func sharesPort(a, b ppf.InlinePair) bool {
	none := ppf.InlinePair{}
	return a != b && a != none && b != none && (a.Client == b.Client || a.Client == b.Server || a.Server == b.Client || a.Server == b.Server)
}
