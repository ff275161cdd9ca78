package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

const (
	// batchLen is how many packets one read takes at most.
	batchLen = 64
	// batchBytes is about how many bytes a read takes: what a batch holds is still
	// in a core's own cache when it is summed and sent, and the first packet of it
	// does not wait for dozens of 64 KiB.
	batchBytes = 256 << 10
	// copyRange is the longest packet the kernel hands over: a netlink
	// attribute's length has 16 bits (nfnetlink_queue.c, nfqnl_set_mode).
	copyRange = 0xffff - attrLen
	// messageLen is room for one packet message with all its attributes.
	messageLen = copyRange + 1024
	// sendLimit caps the bytes of one send: sends near the socket's send buffer
	// fail with EMSGSIZE (af_netlink.c, netlink_sendmsg).
	sendLimit = 128 << 10
	// pollMillis is how long a worker sleeps without packets before a Tick.
	pollMillis = 100
	// spinNanos is how long a worker looks for the next packets before it sleeps,
	// while they come in that close together. To sleep and be woken takes about as
	// long, and a sender whose window is small waits for both.
	spinNanos = 50_000
)

// queue is one bound queue with its socket and its buffers.
type queue struct {
	number uint16
	fd     int
	wake   int // an eventfd that ends waiting
	mark   uint32
	judged uint32
	spins  bool // whether its worker may look for packets before it sleeps
	now    func() int64

	buf    []byte
	hdrs   []mmsghdr
	iov    []unix.Iovec
	frames []ppf.Frame
	room   int // how many packets the next read takes

	fixed [batchLen][verdictRoom]byte
	out   []unix.Iovec

	received, sent, verdictErrors, malformed atomic.Uint64
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// openSocket makes a queue's socket in the network namespace of the calling thread.
func openSocket(number uint16) (*queue, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("nfqueue %d: open netlink socket: %w (%w)", number, err, ErrNoKernelSupport)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("nfqueue %d: eventfd: %w", number, err)
	}
	q := &queue{number: number, fd: fd, wake: wake}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		q.close()
		return nil, fmt.Errorf("nfqueue %d: bind netlink socket: %w", number, err)
	}
	return q, nil
}

// bind takes the queue's number.
func (q *queue) bind() error {
	return q.request(newConfig(q.number).attr(cfgCmd, []byte{cfgCmdBind, 0, 0, unix.AF_UNSPEC}))
}

// openQueue binds a queue number in the network namespace of the calling
// thread.
func openQueue(number uint16, c *Config) (_ *queue, err error) {
	q, err := openSocket(number)
	if err != nil {
		return nil, err
	}
	q.mark, q.judged, q.spins, q.now = c.Mark, c.Judged, c.Nice == 0, c.Now
	defer func() {
		if err != nil {
			q.close()
		}
	}()
	fd := q.fd
	// Losses are counted by the kernel; without this each one would end a read.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return nil, fmt.Errorf("nfqueue %d: NETLINK_NO_ENOBUFS: %w", number, err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.BufferBytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.BufferBytes) // best effort: the limit of rmem_max
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4*sendLimit) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4*sendLimit)
	}
	if err := q.bind(); err != nil {
		return nil, bindError(number, err)
	}
	params := binary.BigEndian.AppendUint32(nil, copyRange)
	flags := uint32(cfgGSO)
	if c.FailOpen {
		flags |= cfgFailOpen
	}
	err = q.request(newConfig(number).
		attr(cfgParams, append(params, cfgCopyPacket)).
		uint32(cfgQueueMaxLen, c.MaxLen).
		uint32(cfgFlags, flags).uint32(cfgMask, flags))
	if err != nil {
		return nil, fmt.Errorf("nfqueue %d: configure: %w", number, err)
	}
	if err := q.allocate(); err != nil {
		return nil, fmt.Errorf("nfqueue %d: buffers: %w", number, err)
	}
	return q, nil
}

// bindError tells the reasons apart why the kernel refuses a queue: EPERM means
// that another socket has bound it, or that CAP_NET_ADMIN is missing; EBUSY is
// the former, in a race (nfnetlink_queue.c, nfqnl_recv_config).
func bindError(number uint16, err error) error {
	owner := Owner(number)
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EPERM) && owner != "":
		return fmt.Errorf("nfqueue %d: bind: %w by %s (stop it, or choose other numbers with `queue:`)", number, ErrQueueInUse, owner)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("nfqueue %d: bind: %w (run as root or with CAP_NET_ADMIN)", number, ErrNoPermission)
	}
	return fmt.Errorf("nfqueue %d: bind: %w (%w)", number, err, ErrNoKernelSupport)
}

// allocate makes room for a batch. Its messages are in memory of their own: 4 MB of
// which small packets touch little, and the collector, which lets its heap grow to a
// multiple of what is in use, takes them for all in use.
func (q *queue) allocate() (err error) {
	if q.buf, err = unix.Mmap(-1, 0, batchLen*messageLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return err
	}
	q.hdrs = make([]mmsghdr, batchLen)
	q.iov = make([]unix.Iovec, batchLen)
	q.frames = make([]ppf.Frame, batchLen)
	q.out = make([]unix.Iovec, 0, 4*batchLen)
	q.room = batchLen
	for i := range q.hdrs {
		q.iov[i].Base = &q.buf[i*messageLen]
		q.iov[i].SetLen(messageLen)
		q.hdrs[i].hdr.Iov = &q.iov[i]
		q.hdrs[i].hdr.SetIovlen(1)
	}
	return nil
}

// request sends a configuration and waits for the kernel's answer, which
// netlink gives before send returns.
func (q *queue) request(c *config) error {
	if err := unix.Sendto(q.fd, c.message(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, messageLen)
	for {
		n, _, err := unix.Recvfrom(q.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		// Packets may come in before the answer once the queue is bound.
		if n >= nlHeaderLen+4 && native.Uint16(buf[4:]) == unix.NLMSG_ERROR {
			if code := int32(native.Uint32(buf[nlHeaderLen:])); code != 0 {
				return unix.Errno(-code)
			}
			return nil
		}
		if n >= nlHeaderLen+nfHeaderLen {
			var f ppf.Frame
			if err := parsePacket(buf[nlHeaderLen:n], &f); err != errMalformed {
				_ = q.drop(f.ID)
			}
		}
	}
}

// drop sends a verdict for a packet that cannot be judged, or whose verdict the
// kernel did not take: it would wait in the queue for ever.
func (q *queue) drop(id uint32) error {
	var fixed [verdictRoom]byte
	return q.verdict(putVerdict(fixed[:], q.number, &ppf.Frame{ID: id, Action: ppf.Drop}, 0, 0))
}

// verdict sends one verdict without a payload.
func (q *queue) verdict(msg []byte) error {
	for {
		if err := unix.Sendto(q.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != unix.EINTR {
			return err
		}
	}
}

// run is the worker: read a batch, decide it, send the verdicts, until done is
// set; then what is still queued is answered, until the deadline.
func (q *queue) run(h ppf.Handler, done *atomic.Bool, deadline func() int64) error {
	var last int64 // when packets were answered last
	dense := false // whether they had come soon after those before
	for {
		n, err := q.receive()
		if err != nil {
			return fmt.Errorf("nfqueue %d: receive: %w", q.number, err)
		}
		now := q.now()
		if n > 0 {
			q.decide(h, n, now)
			dense = q.spins && now-last < spinNanos
			last = q.now()
		}
		if done.Load() && (n == 0 || now > deadline()) {
			return nil
		}
		h.Tick(now)
		switch {
		case n > 0:
		case dense && now-last < spinNanos:
			unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // whoever has work comes first
		default:
			if err := q.wait(); err != nil {
				return fmt.Errorf("nfqueue %d: wait: %w", q.number, err)
			}
		}
	}
}

// receive reads what is there, without waiting.
func (q *queue) receive() (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.hdrs[0])),
			uintptr(q.room), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			q.makeRoom(int(n))
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR, unix.ENOBUFS:
			continue
		}
		return 0, errno
	}
}

// makeRoom sizes the next read by the packets of this one: they come in kinds.
func (q *queue) makeRoom(n int) {
	bytes := 1
	for i := range n {
		bytes += int(q.hdrs[i].len)
	}
	q.room = min(max(n*batchBytes/bytes, 1), batchLen)
}

// wait sleeps until packets come, someone wakes us, or a Tick is due.
func (q *queue) wait() error {
	fds := [2]unix.PollFd{{Fd: int32(q.fd), Events: unix.POLLIN}, {Fd: int32(q.wake), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds[:], pollMillis); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}

// decide hands the messages of a read to the handler and answers them.
func (q *queue) decide(h ppf.Handler, n int, now int64) {
	frames := q.collect(n, now)
	if len(frames) == 0 {
		return
	}
	q.received.Add(uint64(len(frames)))
	h.Handle(frames)
	q.answer(frames)
}

// collect reads the packets out of the messages of a read.
func (q *queue) collect(n int, now int64) []ppf.Frame {
	frames := q.frames[:0]
	for i := range n {
		b := q.buf[i*messageLen : i*messageLen+int(q.hdrs[i].len)]
		if len(b) < nlHeaderLen {
			q.malformed.Add(1)
		}
		for len(b) >= nlHeaderLen {
			length := int(native.Uint32(b))
			if length < nlHeaderLen || length > len(b) {
				q.malformed.Add(1)
				break
			}
			switch native.Uint16(b[4:]) {
			case subsysQueue<<8 | msgPacket:
				if len(frames) == batchLen {
					q.malformed.Add(1) // the kernel sends one packet a datagram
					break
				}
				frames = frames[:len(frames)+1]
				f := &frames[len(frames)-1]
				f.Time = now
				if err := parsePacket(b[nlHeaderLen:length], f); err != nil {
					frames = frames[:len(frames)-1]
					q.malformed.Add(1)
					if err == errUnusable && q.drop(f.ID) != nil {
						q.verdictErrors.Add(1)
					}
				}
			case unix.NLMSG_ERROR:
				q.verdictErrors.Add(1)
			}
			b = b[min(align4(length), len(b)):]
		}
	}
	return frames
}

// answer sends the verdicts in order.
func (q *queue) answer(frames []ppf.Frame) {
	q.out = q.out[:0]
	first, bytes := 0, 0 // of the frames that the next send answers
	for i := range frames {
		f := &frames[i]
		if len(f.Head)+len(f.Body) > copyRange {
			f.Action, f.Head, f.Body = ppf.Drop, nil, nil
			q.verdictErrors.Add(1)
		}
		fixed := putVerdict(q.fixed[i][:], q.number, f, q.mark, q.judged)
		length := int(native.Uint32(fixed))
		if bytes > 0 && bytes+length > sendLimit {
			q.send(frames[first:i])
			first, bytes = i, 0
		}
		bytes += length
		q.push(fixed)
		if length > len(fixed) {
			payload := len(f.Head) + len(f.Body)
			q.push(f.Head)
			q.push(f.Body)
			q.push(zeroPad[:align4(payload)-payload])
		}
	}
	q.send(frames[first:])
}

func (q *queue) push(b []byte) {
	if len(b) == 0 {
		return
	}
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	q.out = append(q.out, v)
}

// kernelAddr is the kernel's netlink address.
var kernelAddr = unix.RawSockaddrNetlink{Family: unix.AF_NETLINK}

// send sends what was pushed, the verdicts of these frames, in one call. When
// the kernel does not take it, each of them gets a drop.
func (q *queue) send(frames []ppf.Frame) {
	msg := unix.Msghdr{
		Name: (*byte)(unsafe.Pointer(&kernelAddr)), Namelen: unix.SizeofSockaddrNetlink, Iov: &q.out[0],
	}
	msg.SetIovlen(len(q.out))
	q.out = q.out[:0]
	accepted := uint64(0)
	for i := range frames {
		if frames[i].Action != ppf.Drop {
			accepted++
		}
	}
	// A packet may be where it goes before the call returns: it is counted then.
	q.sent.Add(accepted)
	for {
		_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&msg)), 0)
		switch errno {
		case 0:
			return
		case unix.EINTR, unix.EAGAIN:
			continue
		}
		break
	}
	q.sent.Add(-accepted)
	for i := range frames {
		q.verdictErrors.Add(1)
		_ = q.drop(frames[i].ID) // when this fails too, the packet stays until the queue is closed
	}
}

// close gives everything back; what the queue handed out was lent until now.
func (q *queue) close() {
	unix.Close(q.fd)
	unix.Close(q.wake)
	if q.buf != nil {
		_ = unix.Munmap(q.buf) // it fails only for what is no mapping
		q.buf = nil
	}
}
