package daemon

import (
	"errors"
	"fmt"
	"os"
)

// outFile is a capture that is being written. A block that does not fit on the
// disk is taken back, so that the file stays readable.
type outFile struct {
	f    *os.File
	size int64
}

// openCapture starts a capture at path. One that is there, of a run before,
// becomes path.1 first.
func openCapture(path string) (*outFile, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		if err := rotate(path); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &outFile{f: f}, nil
}

// rotate makes room at path.
func rotate(path string) error { return os.Rename(path, path+".1") }

// Write appends one block as a whole or not at all.
func (o *outFile) Write(b []byte) (int, error) {
	n, err := o.f.Write(b)
	if err != nil {
		if cut := o.f.Truncate(o.size); cut != nil {
			err = errors.Join(err, fmt.Errorf("the file ends in a torn block: %w", cut))
		}
		return n, err
	}
	o.size += int64(n)
	return n, nil
}

// close ends the capture; an error of it means that the last blocks may be lost,
// which the disk has told already.
func (o *outFile) close() { _ = o.f.Close() }
