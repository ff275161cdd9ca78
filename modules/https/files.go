package https

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

// maxFile bounds what is read of a file of certificates.
const maxFile = 1 << 20

// readFile reads a file that anybody may read.
func readFile(name string) ([]byte, error) { return readRegular(name, nil) }

// readKey reads a private key, which nobody may be able to read or to change but
// root, this user, and their groups.
func readKey(name string) ([]byte, error) {
	return readRegular(name, func(mode os.FileMode, owner, group int) error {
		switch {
		case mode&0o007 != 0:
			return fmt.Errorf("everybody may use it, mode %v (chmod 600 it, and think of a new key)", mode)
		case mode&0o020 != 0:
			return fmt.Errorf("group %d may change it, mode %v (chmod 600 it)", group, mode)
		case mode&0o040 != 0 && !ourGroup(group):
			return fmt.Errorf("group %d may read it, which is neither root's nor one of this program's, mode %v (chmod 600 it, or chgrp it)", group, mode)
		case owner != 0 && owner != os.Geteuid():
			return fmt.Errorf("it belongs to user %d, who can read and change it (chown it to root or to the user of this program)", owner)
		}
		return nil
	})
}

func ourGroup(group int) bool {
	list, err := os.Getgroups()
	return group == 0 || group == os.Getegid() || err == nil && slices.Contains(list, group)
}

// readRegular reads a file that passes a look at its mode and owner: the file that
// is open, whatever its name leads to meanwhile. One that would make us wait, such
// as a pipe, is none.
func readRegular(name string, look func(mode os.FileMode, owner, group int) error) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is no file but a %v", name, info.Mode().Type())
	}
	if of, ok := info.Sys().(*syscall.Stat_t); ok && look != nil {
		if err := look(info.Mode().Perm(), int(of.Uid), int(of.Gid)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: it is longer than %d octets", name, maxFile)
	}
	return b, err
}

// watched is what some files hold, which is read again when that has changed. Times
// and lengths do not tell: kernels tell the time in steps of some milliseconds, and
// a new key may be as long as the old one.
type watched[T any] struct {
	load  func() ([][]byte, error)
	parse func(data [][]byte) (T, error)

	value        T
	seen, failed [sha256.Size]byte // what the files held when they were read, and when they were no good
}

// renew reads the files. A change that is no good is told once and changes nothing.
func (w *watched[T]) renew() (changed bool, err error) {
	data, err := w.load()
	sum := sumOf(data, err)
	if sum == w.seen || sum == w.failed {
		return false, nil
	}
	if err == nil {
		var v T
		if v, err = w.parse(data); err == nil {
			w.value, w.seen, w.failed = v, sum, [sha256.Size]byte{}
			return true, nil
		}
	}
	w.failed = sum
	return false, err
}

func sumOf(data [][]byte, err error) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, b := range data {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	if err != nil {
		io.WriteString(h, err.Error())
	}
	h.Sum(sum[:0])
	return sum
}

// errPasted reports a setting that holds a file's content in place of its name. What
// it holds may be a key, and is not told.
var errPasted = errors.New("it is what is in a file and not the file's name (write the name; a key that stood here may be in backups and logs)")

// pasted says whether a setting holds PEM in place of the name of a file.
func pasted(name string) bool {
	return strings.Contains(name, "-----BEGIN") || strings.Contains(name, "\n")
}
