package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
)

// What stands in the state folder. savedFile is there after a stop that left the
// servers closed, runningFile while a daemon runs and after one that crashed.
const (
	savedFile   = "connections"
	runningFile = "running"
)

// state is what outlives the daemon: the journal of translated connections, mapped
// so that what is written survives a crash of the program, and at the end all
// connections.
type state struct {
	dir     string
	journal []byte // nil: none is kept
	crashed bool   // the daemon before was not stopped
}

// openState takes up the connections of the predecessor and begins a journal. What
// is wrong with files there is told and nothing is taken up: a daemon that starts
// is worth more. before is how the predecessor left the kernel's rules.
func (d *Daemon) openState(before rules.State) {
	if !d.takes(ppf.SourceNFQueue) && !d.takes(ppf.SourceInline) {
		return
	}
	if d.state.dir = d.spec.State; d.state.dir == "" {
		d.state.dir = d.options.State
	}
	if d.state.dir == "" {
		d.state.dir = filepath.Dir(d.spec.Control)
	}
	crashed, err := d.recoverConnections()
	d.state.crashed = crashed
	switch {
	case err != nil:
		d.say("state: %v: its connections are not taken up", err)
	case crashed: // what an earlier stop saved is older
	default:
		if err := d.restoreConnections(before); err != nil {
			d.say("state: %v: its connections are not taken up", err)
		}
	}
	if err := d.openJournal(); err != nil {
		d.say("state: %v: connections with translated sequence numbers will not survive a crash", err)
	}
}

// recoverConnections takes up what a journal noted. That it is there means that
// its daemon did not come to its end.
func (d *Daemon) recoverConnections() (crashed bool, err error) {
	path := filepath.Join(d.state.dir, runningFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return true, err
	}
	if info.Size() == 0 || info.Size() > maxJournalFile {
		return true, fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	journal, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return true, fmt.Errorf("map %s: %w", path, err)
	}
	defer unix.Munmap(journal)
	d.say("the daemon before was not stopped: %d connections with translated sequence numbers are taken up, and others in full swing for a while (`adopt`)",
		d.engine.RecoverConnections(journal))
	return true, nil
}

// maxJournalFile bounds what is read as a journal.
const maxJournalFile = 1 << 30

// restoreConnections takes up what a stop saved, as long as nothing passed
// meanwhile that would have moved these connections on.
func (d *Daemon) restoreConnections(before rules.State) error {
	path := filepath.Join(d.state.dir, savedFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if d.noPackets == nil && before == rules.StateNone && d.takes(ppf.SourceNFQueue) {
		return fmt.Errorf("%s: the rules that kept the servers closed are gone", path)
	}
	sum, err := d.engine.RestoreConnections(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	d.say("%d connections are taken up from %s; %d were over, %d are of instances that changed", sum.Restored, path, sum.Ended, sum.Changed)
	return nil
}

// takes reports whether an instance takes packets from a source of that kind.
func (d *Daemon) takes(kind ppf.SourceKind) bool {
	return slices.ContainsFunc(d.spec.Instances, func(in ppf.InstanceSpec) bool { return in.Source == kind })
}

// openJournal puts a new journal in the place of the old one. Its room is taken
// at once: a page that a full disk has no place for would be the program's end.
func (d *Daemon) openJournal() error {
	if err := os.MkdirAll(d.state.dir, 0o750); err != nil {
		return err
	}
	path := filepath.Join(d.state.dir, runningFile)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	size := d.engine.JournalSize()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("%s: room for %d bytes: %w", path, size, err)
	}
	journal, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("map %s: %w", path, err)
	}
	d.state.journal = journal
	d.engine.KeepJournal(journal)
	return os.Rename(f.Name(), path)
}

// started forgets what was saved before: from now on it is old.
func (s *state) started() error {
	if s.dir == "" {
		return nil
	}
	err := os.Remove(filepath.Join(s.dir, savedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// closeState ends the journal of a daemon in good order: where its servers stay
// closed the connections are saved, and where they do not, those whose sides know
// different numbers are ended. No worker runs any more.
func (d *Daemon) closeState() error {
	if d.state.dir == "" {
		return nil
	}
	var errs []error
	if d.spec.OnExit == ppf.ExitBlock || !d.takes(ppf.SourceNFQueue) {
		errs = append(errs, d.saveConnections())
	} else if _, err := d.engine.EndTranslated(); err != nil {
		errs = append(errs, fmt.Errorf("end translated connections: %w", err))
	}
	d.state.crashed = false
	return errors.Join(append(errs, d.endState())...)
}

// endState takes the journal away; where a start after a crash came to nothing, it
// stays for the next one.
func (d *Daemon) endState() error {
	if d.state.journal == nil {
		return nil
	}
	d.engine.KeepJournal(nil)
	err := unix.Munmap(d.state.journal)
	d.state.journal = nil
	if d.state.crashed {
		return err
	}
	return errors.Join(err, os.Remove(filepath.Join(d.state.dir, runningFile)))
}

// saveConnections writes them into a file that is there as a whole or not at all.
func (d *Daemon) saveConnections() (err error) {
	path := filepath.Join(d.state.dir, savedFile)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("save connections: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriter(f)
	n, err := d.engine.SaveConnections(w)
	if err = errors.Join(err, w.Flush(), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("save connections: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("save connections: %w", err)
	}
	d.say("%d connections are saved in %s", n, path)
	return nil
}
