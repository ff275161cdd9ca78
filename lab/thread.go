package lab

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// threadNet names the network namespace of the calling thread. Other paths under
// /proc name that of the main thread.
const threadNet = "/proc/thread-self/ns/net"

// onThread runs f on an OS thread of its own and waits. f may change the
// namespaces of that thread and says with its first result whether they are as
// before; otherwise, and after a panic or runtime.Goexit, the thread ends instead
// of going back to the Go scheduler. A panic or Goexit (t.FailNow) of f goes on in
// the caller.
func onThread(f func() (restored bool, err error)) error {
	type outcome struct {
		err      error
		panicked any
		stack    []byte
		returned bool
	}
	done := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread()
		var out outcome
		defer func() {
			if !out.returned {
				if out.panicked = recover(); out.panicked != nil {
					out.stack = debug.Stack()
				}
			}
			done <- out
		}()
		restored, err := f()
		if restored {
			runtime.UnlockOSThread()
		}
		out = outcome{err: err, returned: true}
	}()
	out := <-done
	switch {
	case out.panicked != nil:
		panic(fmt.Sprintf("%v\n\non a thread of the lab:\n%s", out.panicked, out.stack))
	case !out.returned:
		runtime.Goexit()
	}
	return out.err
}

// inNamespace runs f on a thread that is in the network namespace ns.
func inNamespace(ns *os.File, f func() error) error {
	return onThread(func() (bool, error) {
		home, err := os.Open(threadNet)
		if err != nil {
			return true, err
		}
		defer home.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return true, os.NewSyscallError("setns", err)
		}
		err = f()
		return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil, err
	})
}
