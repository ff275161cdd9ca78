package config

import (
	"slices"

	"github.com/promethos/promethos/ppf"
)

// LoadSelection is Load for who drops what the instances select and runs none of
// them. That a function cannot be bound, because a key is not there yet or a setting
// is wrong, is a warning then: its instance selects the same with a chain of `pass`,
// and a server stays closed rather than open.
func LoadSelection(path string) (*ppf.Spec, []ppf.Problem) {
	l := &loader{selection: true}
	l.file(path, true)
	return l.finish()
}

// bind tries whether the functions of all instances can be bound.
func (l *loader) bind() []ppf.Problem {
	problems := ppf.CheckSpec(&l.spec)
	if !l.selection || len(problems) == 0 {
		return problems
	}
	for i := range problems {
		problems[i].Warning = true
	}
	var kept []ppf.InstanceSpec
	for _, in := range l.spec.Instances {
		alone := l.spec
		alone.Instances = []ppf.InstanceSpec{in}
		if len(ppf.CheckSpec(&alone)) > 0 {
			if in.Source == ppf.SourceListen {
				continue // it selects nothing
			}
			in.Modules = nil
			for d, chain := range in.Chain {
				if len(chain) > 0 {
					in.Chain[d] = []string{"pass"}
				}
			}
		}
		kept = append(kept, in)
	}
	l.spec.Instances = kept
	return slices.Concat(problems, ppf.CheckSpec(&l.spec))
}
