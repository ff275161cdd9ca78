package daemon

import (
	"fmt"
	"slices"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/nfqueue"
)

// takesPackets reports whether an instance of a file needs rules and queues of
// the kernel.
func takesPackets(spec *ppf.Spec) bool {
	return len(spec.Instances) == 0 || slices.ContainsFunc(spec.Instances, func(in ppf.InstanceSpec) bool { return in.Source == ppf.SourceNFQueue })
}

// openKernel opens what selects and delivers packets. Where it may not, or the
// kernel cannot, that is an error only for a file with instances that take
// packets; with listeners and inline pairs alone the daemon goes on without.
func (d *Daemon) openKernel(workers int) error {
	err := func() (err error) {
		if d.kernel, err = rules.OpenKernel(); err != nil {
			return err
		}
		if d.features, err = d.kernel.Probe(); err != nil {
			return err
		}
		d.closed, err = nfqueue.Open(d.queueConfig(workers, false))
		return err
	}()
	if err == nil {
		return nil
	}
	d.closeKernel()
	if takesPackets(d.spec) {
		return err
	}
	d.noPackets = err
	return nil
}

// closeKernel gives back what openKernel opened.
func (d *Daemon) closeKernel() error {
	var errs [2]error
	if d.closed != nil {
		errs[0] = d.closed.Close()
		d.closed = nil
	}
	if d.kernel != nil {
		errs[1] = d.kernel.Close()
		d.kernel = nil
	}
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// mayTake refuses a file or rule that takes packets where the daemon runs
// without rules and queues.
func (d *Daemon) mayTake(what string) error {
	if d.noPackets == nil {
		return nil
	}
	return fmt.Errorf("%s: it takes packets, and this daemon runs without queues: %w (start it anew as root)", what, d.noPackets)
}
