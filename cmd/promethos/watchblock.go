package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/daemon"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/nfqueue"
)

// watchBlocked blocks what a configuration selects, unless a daemon does better,
// and closes each port of its inline pairs as soon as it is there.
func watchBlocked(ctx context.Context, path string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	spec, err := blockable(path)
	if err != nil {
		return err
	}
	// Whoever looks first and asks for news then misses what comes in between.
	links, fail := make(chan netlink.LinkUpdate), make(chan error, 1)
	err = netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{
		ErrorCallback: func(err error) {
			select {
			case fail <- err:
			default: // the first says why it ends
			}
		},
	})
	if err != nil {
		return fmt.Errorf("block: watch interfaces: %w", err)
	}
	w := portWatch{load: func() (*ppf.Spec, []ppf.Problem) { return config.LoadSelection(path) }, looked: map[string]int{}}
	w.take(spec)
	if w.silence, err = rules.OpenSilence(); err != nil {
		return err
	}
	defer w.silence.Close()
	if who := nfqueue.Claimed(); who != "" {
		fmt.Fprintf(os.Stderr, "a daemon is there: %s; ports are watched\n", who)
	} else {
		if err := blockSelected(spec); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "blocked: what the %d instances of %s select\n", len(spec.Instances), path)
	}
	for _, port := range w.ports {
		if err := w.close(port); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "ready")
	notify("READY=1")
	for {
		select {
		case u, more := <-links:
			if !more {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("block: watch interfaces: %w", <-fail)
			}
			if err := w.seen(u); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// portWatch closes the ports of a configuration.
type portWatch struct {
	load    func() (*ppf.Spec, []ppf.Problem)
	silence *rules.Silence
	ports   []string
	files   []string       // what load has read, and the folders that it has listed
	stamps  string         // theirs before it did; "": it has to read again
	looked  map[string]int // the index of the interface that was looked at, by name
}

// seen is told of each change of an interface. One that comes is looked up in the
// files as they are then; where these have problems, in what they were before.
func (w *portWatch) seen(u netlink.LinkUpdate) error {
	name, index := u.Link.Attrs().Name, u.Link.Attrs().Index
	if u.Header.Type == syscall.RTM_DELLINK {
		if w.looked[name] == index {
			delete(w.looked, name)
		}
		return nil
	}
	if w.looked[name] == index {
		return nil
	}
	w.looked[name] = index
	w.read()
	if !slices.Contains(w.ports, name) {
		return nil
	}
	return w.close(name)
}

// read reads the files again that have changed: a machine on which interfaces come and
// go all the time does not parse them for each.
func (w *portWatch) read() {
	before := stamps(w.files)
	if before != "" && before == w.stamps {
		return
	}
	files := w.files
	spec, problems := w.load()
	if slices.ContainsFunc(problems, isWrong) {
		w.stamps = before
		return
	}
	if w.take(spec); slices.Equal(files, w.files) {
		w.stamps = before
	}
}

// take goes by a configuration from now on.
func (w *portWatch) take(spec *ppf.Spec) {
	w.ports, w.files, w.stamps = daemon.Ports(spec), slices.Concat(spec.Files, spec.Folders), ""
}

// stampTick is the coarsest of file systems' clocks: what changed so short a time ago
// may change once more and have the same stamp.
const stampTick = 2 * time.Second

// stamps tells files apart from what they were before; "" where that cannot be told.
func stamps(files []string) string {
	var b strings.Builder
	for _, f := range files {
		var s unix.Stat_t
		if err := unix.Stat(f, &s); err != nil {
			fmt.Fprintln(&b, f, err)
			continue
		}
		if time.Since(time.Unix(s.Mtim.Unix())) < stampTick {
			return ""
		}
		fmt.Fprintln(&b, f, s.Dev, s.Ino, s.Size, s.Mtim, s.Ctim)
	}
	return b.String()
}

// close drops what comes in at a port, also before a bridge that it is a port of.
// One that is not there the kernel remembers from Linux 6.16 on; with others it is
// closed as soon as it is seen.
func (w *portWatch) close(port string) error {
	failed := w.silence.Add(port)
	link, err := netlink.LinkByName(port)
	switch {
	case err == nil && failed != nil:
		return failed
	case err == nil:
		w.looked[port] = link.Attrs().Index
		fmt.Fprintf(os.Stderr, "closed: %s\n", port)
	case errors.As(err, &netlink.LinkNotFoundError{}):
		fmt.Fprintf(os.Stderr, "%s is not there yet: it is closed when it comes\n", port)
	default:
		return fmt.Errorf("block: %s: %w", port, err)
	}
	return nil
}
