package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// watchEvents are those after which a file or its folder's list has changed.
	// Editors write a new file and rename it; what is still open is not read.
	watchEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	// watchQuiet is how long nothing may happen before the files are read: who
	// changes several does it in one go.
	watchQuiet = 200 * time.Millisecond
)

// watcher tells when something in some folders has changed.
type watcher struct{ file *os.File }

// watchFolders starts to watch (inotify(7)).
func watchFolders(folders []string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", os.NewSyscallError("inotify_init1", err))
	}
	w := &watcher{os.NewFile(uintptr(fd), "inotify")}
	for _, f := range folders {
		if _, err := unix.InotifyAddWatch(fd, f, watchEvents); err != nil {
			return nil, errors.Join(fmt.Errorf("watch %s: %w (make the folder, or set `watch: false`)", f, err), w.file.Close())
		}
	}
	return w, nil
}

// changes calls f after each change, when it is quiet again, until ctx is done.
func (w *watcher) changes(ctx context.Context, f func()) error {
	stop := context.AfterFunc(ctx, func() { w.file.Close() })
	defer stop()
	buf := make([]byte, 4096)
	for {
		if _, err := w.file.Read(buf); err != nil {
			return w.ended(ctx, err)
		}
		for {
			if err := w.file.SetReadDeadline(time.Now().Add(watchQuiet)); err != nil {
				return w.ended(ctx, err)
			}
			_, err := w.file.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return w.ended(ctx, err)
			}
		}
		if err := w.file.SetReadDeadline(time.Time{}); err != nil {
			return w.ended(ctx, err)
		}
		f()
	}
}

// ended tells an error unless it is the end that was asked for.
func (w *watcher) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch: %w", err)
}
