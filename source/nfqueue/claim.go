package nfqueue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrClaimed reports a network namespace that has a daemon. It comes wrapped, with
// the daemon's process and control socket.
var ErrClaimed = errors.New("this network namespace has a daemon already")

// claimQueue is the queue that a daemon binds as long as it lives; no rule leads to
// it, and no configuration may name it. Who has it is known by the kernel alone: for
// each network namespace, to whoever sees it from whatever container, and until the
// process ends, however it does. To take it needs the privilege that rules need, so
// that no other user can keep a daemon from its start.
const claimQueue = 0xffff

// Claim is the right to replace the rules of a network namespace. Its zero value
// holds none.
type Claim struct{ queue *queue }

// TakeClaim takes the claim of the calling thread's network namespace. The error
// wraps ErrClaimed, ErrNoPermission or ErrNoKernelSupport.
func TakeClaim() (_ *Claim, err error) {
	q, err := openSocket(claimQueue)
	if err != nil {
		return nil, err
	}
	if err = q.bind(); err == nil {
		return &Claim{q}, nil
	}
	q.close()
	if err = bindError(claimQueue, err); errors.Is(err, ErrQueueInUse) {
		return nil, fmt.Errorf("%w: %s (stop it, or let it have these instances too)", ErrClaimed, Claimed())
	}
	return nil, err
}

// Close gives the claim back.
func (c *Claim) Close() {
	if c.queue != nil {
		c.queue.close()
		c.queue = nil
	}
}

// Claimed names the daemon of the calling thread's network namespace, with its
// control socket where the process can be seen; "" where none lives.
func Claimed() string {
	port := portOf(claimQueue)
	if port == "" {
		return ""
	}
	dir := processOf(port)
	if dir == "" {
		return unseen(port)
	}
	text := named(dir)
	if path := listensAt(dir); path != "" {
		text += ", control socket " + path
	}
	return text
}

// listensAt finds the path at which a process listens, in the table of its unix
// sockets (af_unix.c, unix_seq_show): Num, RefCount, Protocol, Flags, Type, St,
// Inode, Path.
func listensAt(dir string) string {
	table, err := os.ReadFile(filepath.Join(dir, "net/unix"))
	if err != nil {
		return ""
	}
	const accepts = "00010000" // __SO_ACCEPTCON
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) == 8 && f[3] == accepts && f[4] == fmt.Sprintf("%04X", unix.SOCK_STREAM) && strings.HasPrefix(f[7], "/") && holds(dir, f[6]) {
			return f[7]
		}
	}
	return ""
}
