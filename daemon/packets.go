package daemon

import (
	"errors"
	"fmt"
	"slices"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/host"
	"github.com/promethos/promethos/source/nfqueue"
)

// takesPackets reports whether an instance of a file needs rules and queues of
// the kernel.
func takesPackets(spec *ppf.Spec) bool {
	return len(spec.Instances) == 0 || slices.ContainsFunc(spec.Instances, func(in ppf.InstanceSpec) bool { return in.Source == ppf.SourceNFQueue })
}

// openKernel opens what selects packets, once this daemon is the namespace's only
// one: another's rules would be taken for what a predecessor left.
func (d *Daemon) openKernel() (err error) {
	if d.kernel, err = rules.OpenKernel(); err == nil {
		d.features, err = d.kernel.Probe()
	}
	if err == nil {
		d.claim, err = nfqueue.TakeClaim()
	}
	if err == nil {
		d.transparent.diversion, err = host.OpenDiversion()
	}
	return d.withoutPackets(err)
}

// openQueues opens what delivers packets, where openKernel did not say that there
// will be none.
func (d *Daemon) openQueues(workers int) (err error) {
	if d.noPackets != nil {
		return nil
	}
	d.closed, err = nfqueue.Open(d.queueConfig(rules.Queues{First: d.spec.QueueFirst, Count: uint16(workers)}))
	if err == nil {
		c := d.queueConfig(openingQueue(d.spec))
		c.MaxLen, c.Nice = maxOpening, openingNice
		d.opening, err = nfqueue.Open(c)
	}
	return d.withoutPackets(err)
}

// A flood of SYNs is judged behind what belongs to connections. What does not fit is
// dropped by the kernel, and clients that mean it send again. As long as there are
// no more of them than workers judge in passing, they keep their place among the
// others: to wake a thread of its own for each costs more than to judge it.
const (
	floodPerWorker = 10_000 // SYNs a second
	maxOpening     = 1024
	openingNice    = 5
)

// withoutPackets judges why no packets can be taken. It is an error only for a
// file with instances that take packets; with listeners and inline pairs alone the
// daemon goes on without, and beside another daemon with listeners alone: who may
// be heard at the ports of pairs is one daemon's matter too.
func (d *Daemon) withoutPackets(why error) error {
	if why == nil || takesPackets(d.spec) || errors.Is(why, nfqueue.ErrClaimed) && len(pairsOf(d.spec)) > 0 {
		return why
	}
	d.noPackets = why
	_ = d.closeKernel() // nothing was changed yet
	return nil
}

// closeKernel gives back what openKernel and openQueues opened.
func (d *Daemon) closeKernel() error {
	var errs []error
	for _, q := range []**nfqueue.Source{&d.closed, &d.opening} {
		if *q != nil {
			errs = append(errs, (*q).Close())
			*q = nil
		}
	}
	if d.transparent.diversion != nil {
		d.transparent.diversion.Close()
		d.transparent.diversion = nil
	}
	if d.kernel != nil {
		errs = append(errs, d.kernel.Close())
		d.kernel = nil
	}
	if d.claim != nil { // last: who has it next may change all of this
		d.claim.Close()
		d.claim = nil
	}
	return errors.Join(errs...)
}

// mayTake refuses a file or rule that takes packets where the daemon runs
// without rules and queues.
func (d *Daemon) mayTake(what string) error {
	if d.noPackets == nil {
		return nil
	}
	return fmt.Errorf("%s: it takes packets, and this daemon runs without queues: %w (start it anew as root)", what, d.noPackets)
}
