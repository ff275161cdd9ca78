package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 looks for named network namespaces.
const netnsDir = "/run/netns"

// ErrExists reports that a namespace of the lab is there already: a lab is up, or
// one was left behind by a crash. Remove takes it away.
var ErrExists = errors.New("namespace exists already")

// newNamespace makes a network namespace. With an empty name it lives as long as
// the returned file, or a process inside, does; otherwise it is also bound to
// netnsDir/name until removeNamespace. ErrExists comes wrapped.
func newNamespace(name string) (ns *os.File, err error) {
	err = onThread(func() (bool, error) {
		home, err := os.Open(threadNet)
		if err != nil {
			return true, err
		}
		defer home.Close()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return true, os.NewSyscallError("unshare", err)
		}
		if ns, err = os.Open(threadNet); err == nil && name != "" {
			if err = bindNamespace(name); err != nil {
				ns.Close()
				ns = nil
			}
		}
		return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil, err
	})
	return ns, err
}

// bindNamespace gives the calling thread's network namespace a name.
func bindNamespace(name string) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(netnsDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w (remove it with: promethos lab down)", path, ErrExists)
	}
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(threadNet, path, "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(&os.PathError{Op: "bind", Path: path, Err: err}, os.Remove(path))
	}
	return nil
}

// openNamespace opens a named network namespace.
func openNamespace(name string) (*os.File, error) {
	path := filepath.Join(netnsDir, name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("open %s: not a namespace (left by a crash; remove it with: promethos lab down)", path)
	}
	return f, nil
}

// removeNamespace takes the name away; the namespace goes with its last user. A
// name that is not there is no error.
func removeNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	// EINVAL: not a mount point, left by a crash before the mount.
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
