package nfqueue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// Why Open refuses.
var (
	// ErrQueueInUse reports that another process has bound the queue number.
	ErrQueueInUse = errors.New("queue number already in use")
	// ErrNoPermission reports that CAP_NET_ADMIN is missing.
	ErrNoPermission = errors.New("not permitted")
	// ErrNoKernelSupport reports a kernel without nfnetlink_queue.
	ErrNoKernelSupport = errors.New("the kernel has no NFQUEUE: CONFIG_NETFILTER_NETLINK_QUEUE is missing or its module cannot be loaded")
)

// Config says what to open.
type Config struct {
	// Queues are the queue numbers; each gets a worker.
	Queues []uint16
	// FailOpen lets packets pass that do not fit into a full queue.
	FailOpen bool
	// MaxLen is how many packets wait in the kernel per queue; 0: 4096.
	MaxLen uint32
	// Mark is set on emitted and repeated packets; the rules skip it.
	Mark uint32
	// Judged is set, in place of Mark, on packets that the rules of a later hook
	// skip.
	Judged uint32
	// BufferBytes is the socket's receive buffer; 0: 64 MiB.
	BufferBytes int
	// Nice is by how much the workers give way to others, 0 to 19 (setpriority(2));
	// those that do sleep as soon as there is nothing to do.
	Nice int
	// Drain is how long packets are answered after Run was told to stop; 0: 500
	// ms.
	Drain time.Duration
	// Now is the clock in nanoseconds since 1970.
	Now func() int64
}

// Source takes packets from queues of one network namespace: that of the
// thread which called Open.
type Source struct {
	queues  []*queue
	drain   int64
	nice    int
	now     func() int64
	raw     rawSockets
	proc    *os.File
	procMu  sync.Mutex
	emitted atomic.Uint64
}

var _ ppf.Source = (*Source)(nil)

// Open binds all queues, or none. The error wraps ErrQueueInUse,
// ErrNoPermission or ErrNoKernelSupport.
func Open(c Config) (_ *Source, err error) {
	if c.MaxLen == 0 {
		c.MaxLen = 4096
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = 64 << 20
	}
	if c.Drain == 0 {
		c.Drain = 500 * time.Millisecond
	}
	s := &Source{drain: int64(c.Drain), nice: c.Nice, now: c.Now}
	s.raw.v4, s.raw.v6 = -1, -1
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, n := range c.Queues {
		q, err := openQueue(n, &c)
		if err != nil {
			return nil, err
		}
		s.queues = append(s.queues, q)
	}
	if err := s.raw.open(c.Mark); err != nil {
		return nil, err
	}
	// /proc/net follows the namespace of the reader; the open file does not.
	if s.proc, err = os.Open(procQueues); err != nil {
		return nil, fmt.Errorf("nfqueue: statistics: %w", err)
	}
	return s, nil
}

// Workers is the number of queues.
func (s *Source) Workers() int { return len(s.queues) }

// Run decides packets until ctx is done; see ppf.Source.
func (s *Source) Run(ctx context.Context, handlers []ppf.Handler) error {
	if len(handlers) != len(s.queues) {
		return fmt.Errorf("nfqueue: run: %d handlers for %d queues", len(handlers), len(s.queues))
	}
	var done atomic.Bool
	var until atomic.Int64
	errs := make([]error, len(s.queues))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for i, q := range s.queues {
		workers.Go(func() {
			defer cancel() // a worker that fails ends the others: closed, not half open
			s.giveWay()
			errs[i] = q.run(handlers[i], &done, until.Load)
		})
	}
	<-ctx.Done()
	until.Store(s.now() + s.drain)
	done.Store(true)
	for _, q := range s.queues {
		if _, err := unix.Write(q.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			errs = append(errs, fmt.Errorf("nfqueue %d: wake: %w", q.number, err))
		}
	}
	workers.Wait()
	return errors.Join(errs...)
}

// giveWay lowers the priority of a worker that others come before: it has a thread
// of its own, which ends with it. Where that is refused it stays one of them.
func (s *Source) giveWay() {
	if s.nice == 0 {
		return
	}
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), s.nice)
}

// Close unbinds the queues; what our rules still select is dropped from then on.
func (s *Source) Close() error {
	for _, q := range s.queues {
		q.close()
	}
	s.queues = nil
	s.raw.close()
	if s.proc != nil {
		return s.proc.Close()
	}
	return nil
}

// procQueues lists the bound queues of a namespace (nfnetlink_queue.c,
// seq_show): number, port id, waiting, copy mode, copy range, queue_dropped,
// user_dropped, id sequence, 1.
const procQueues = "/proc/thread-self/net/netfilter/nfnetlink_queue"

// procRow finds a queue's line.
func procRow(table []byte, number uint16) []string {
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) >= 8 && fields[0] == strconv.Itoa(int(number)) {
			return fields
		}
	}
	return nil
}

// Stats reads the counters of all queues.
func (s *Source) Stats() ([]ppf.SourceStats, error) {
	s.procMu.Lock()
	defer s.procMu.Unlock()
	if _, err := s.proc.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("nfqueue: statistics: %w", err)
	}
	var table bytes.Buffer
	if _, err := table.ReadFrom(s.proc); err != nil {
		return nil, fmt.Errorf("nfqueue: statistics: %w", err)
	}
	list := make([]ppf.SourceStats, len(s.queues))
	for i, q := range s.queues {
		st := &list[i]
		*st = ppf.SourceStats{
			Name: fmt.Sprintf("queue %d", q.number), Received: q.received.Load(), Sent: q.sent.Load(),
			VerdictErrors: q.verdictErrors.Load() + q.malformed.Load(),
		}
		if i == 0 {
			st.Emitted = s.emitted.Load()
		}
		if row := procRow(table.Bytes(), q.number); row != nil {
			st.Depth, _ = strconv.ParseUint(row[2], 10, 64) // the kernel writes numbers
			st.KernelDropped, _ = strconv.ParseUint(row[5], 10, 64)
			st.SocketDropped, _ = strconv.ParseUint(row[6], 10, 64)
		}
	}
	return list, nil
}
