package inline

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const (
	// batchLen is how many frames one read takes at most.
	batchLen = 64
	// frameLen is the longest frame that is taken whole: an IP packet of 65,535
	// bytes, an Ethernet header and two tags.
	frameLen = 0xffff + packet.EthernetLen + packet.MaxVLANs*packet.VLANLen
	// slotLen is room for a frame and for the tag that is put back before it.
	slotLen = (frameLen + packet.VLANLen + 63) &^ 63
	// pieces is how many parts a frame is sent in: virtio-net header, headers,
	// payload, padding.
	pieces = 4
	// pollMillis is how long a worker sleeps without frames before a Tick.
	pollMillis = 100
	// linkEvery is how often a worker looks at its ports.
	linkEvery = int64(500 * time.Millisecond)
	// auxLen is the length of struct tpacket_auxdata, controlLen room for it with
	// its header (include/uapi/linux/if_packet.h).
	auxLen     = 20
	controlLen = unix.SizeofCmsghdr + (auxLen+7)&^7
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// worker carries frames from one port to the other.
type worker struct {
	source  *Source
	in, out *port
	wake    int // an eventfd that ends waiting
	now     func() int64
	looked  int64 // when the links were looked at

	// mu guards the sockets against those who only ask or emit; the worker alone
	// replaces them.
	mu            sync.Mutex
	rx, tx        int // -1 while their interface is gone
	rxIndex       int32
	txIndex       int32
	socketDropped uint64

	buf     []byte
	heads   [batchLen]vnetHeader
	control [batchLen][controlLen]byte
	recv    [batchLen]mmsghdr
	recvIOV [batchLen][2]unix.Iovec
	frames  []ppf.Frame
	send    [batchLen]mmsghdr
	sendIOV [batchLen][pieces]unix.Iovec

	received, sent, unsupported, failed atomic.Uint64
}

func newWorker(s *Source, in, out *port, now func() int64) (_ *worker, err error) {
	w := &worker{source: s, in: in, out: out, now: now, rx: -1, tx: -1}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("inline: eventfd: %w", err)
	}
	if err := w.connect(); err != nil {
		w.close()
		return nil, err
	}
	w.buf = make([]byte, batchLen*slotLen)
	w.frames = make([]ppf.Frame, batchLen)
	for i := range w.recv {
		iov := &w.recvIOV[i]
		iov[0].Base, iov[1].Base = &w.heads[i][0], &w.buf[i*slotLen+packet.VLANLen]
		iov[0].SetLen(vnetLen)
		iov[1].SetLen(slotLen - packet.VLANLen)
		h := &w.recv[i].hdr
		h.Iov, h.Control = &iov[0], &w.control[i][0]
		h.SetIovlen(len(iov))
		w.send[i].hdr.Iov = &w.sendIOV[i][0]
	}
	return w, nil
}

// connect opens the sockets of interfaces that are new to the worker.
func (w *worker) connect() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs error
	if index := w.in.index.Load(); index != w.rxIndex {
		w.rxIndex = 0
		w.rx = closeSocket(w.rx)
		if index != 0 {
			fd, err := w.in.receiver()
			if errs = errors.Join(errs, err); err == nil {
				w.rx, w.rxIndex = fd, index
			}
		}
	}
	if index := w.out.index.Load(); index != w.txIndex {
		w.txIndex = 0
		w.tx = closeSocket(w.tx)
		if index != 0 {
			fd, err := w.out.sender()
			if errs = errors.Join(errs, err); err == nil {
				w.tx, w.txIndex = fd, index
			}
		}
	}
	return errs
}

func closeSocket(fd int) int {
	if fd >= 0 {
		unix.Close(fd)
	}
	return -1
}

func (w *worker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rx, w.tx, w.wake = closeSocket(w.rx), closeSocket(w.tx), closeSocket(w.wake)
}

// run reads a batch, decides it and sends it on, until done is set.
func (w *worker) run(h ppf.Handler, done *atomic.Bool) error {
	for !done.Load() {
		n, err := w.receive()
		if err != nil {
			return fmt.Errorf("inline: port %s: receive: %w", w.in.name, err)
		}
		now := w.now()
		if n > 0 {
			w.carry(h, n, now)
		}
		h.Tick(now)
		if now-w.looked >= linkEvery {
			w.looked = now
			w.look()
		}
		if n == 0 {
			if err := w.wait(); err != nil {
				return fmt.Errorf("inline: port %s: wait: %w", w.in.name, err)
			}
		}
	}
	return nil
}

// look follows what has become of the interfaces. What cannot be opened yet is
// tried again.
func (w *worker) look() {
	w.in.check()
	w.out.check()
	_ = w.connect()
}

// receive reads what is there, without waiting. A frame whose kind of
// segmentation virtio-net has no number for costs the kernel's error EINVAL, and
// an interface that goes down or away ENETDOWN or ENODEV: neither ends the worker.
func (w *worker) receive() (int, error) {
	if w.rx < 0 {
		return 0, nil
	}
	for i := range w.recv {
		h := &w.recv[i].hdr
		h.SetControllen(controlLen)
		h.Flags = 0
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(w.rx), uintptr(unsafe.Pointer(&w.recv[0])),
			batchLen, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINVAL:
			w.unsupported.Add(1)
			continue
		case unix.ENETDOWN, unix.ENODEV, unix.ENXIO:
			w.looked = 0
			return 0, nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// wait sleeps until frames come, someone wakes us, or a Tick is due.
func (w *worker) wait() error {
	fds := [2]unix.PollFd{{Fd: int32(w.rx), Events: unix.POLLIN}, {Fd: int32(w.wake), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds[:], pollMillis); err != nil && err != unix.EINTR {
		return err
	}
	return nil
}

// carry hands the frames of a read to the handler and sends what it decided.
func (w *worker) carry(h ppf.Handler, n int, now int64) {
	frames := w.frames[:0]
	for i := range n {
		if int(w.recv[i].len) < vnetLen {
			w.unsupported.Add(1)
			continue
		}
		frames = frames[:len(frames)+1]
		w.fill(&frames[len(frames)-1], i, now)
	}
	w.received.Add(uint64(len(frames)))
	h.Handle(frames)
	w.forward(frames)
}

// fill describes the frame of a slot.
func (w *worker) fill(f *ppf.Frame, slot int, now int64) {
	length := int(w.recv[slot].len) - vnetLen
	start := slot * slotLen
	data := w.buf[start+packet.VLANLen:][:min(length, slotLen-packet.VLANLen)]
	if tag, ok := vlanOf(&w.recv[slot].hdr, &w.control[slot]); ok && len(data) >= packet.EthernetLen {
		data = w.buf[start:][:packet.VLANLen+len(data)]
		putTag(data, tag)
		length += packet.VLANLen
		w.heads[slot].shift(packet.VLANLen)
	}
	f.Data, f.WireLen = data, length
	f.Link, f.Hook, f.Wire = packet.LinkEthernet, w.in.hook, wire{w.source}
	f.In, f.Out = w.rxIndex, w.txIndex
	f.Time, f.ID, f.MTU = now, uint32(slot), int(w.out.mtu.Load())
	w.heads[slot].describe(f)
}

// vlanTag is a tag as the kernel hands it over: control information and TPID in
// network order.
type vlanTag [packet.VLANLen]byte

// Fields of struct tpacket_auxdata.
const (
	offAuxStatus   = 0
	offAuxVLANTCI  = 16
	offAuxVLANTPID = 18
)

// vlanOf finds the tag that the kernel took out of a frame.
func vlanOf(h *unix.Msghdr, control *[controlLen]byte) (tag vlanTag, ok bool) {
	c := (*unix.Cmsghdr)(unsafe.Pointer(control))
	if h.Controllen < unix.SizeofCmsghdr+auxLen || c.Level != unix.SOL_PACKET || c.Type != unix.PACKET_AUXDATA {
		return tag, false
	}
	aux := control[unix.SizeofCmsghdr:]
	status := native.Uint32(aux[offAuxStatus:])
	if status&unix.TP_STATUS_VLAN_VALID == 0 {
		return tag, false
	}
	tpid := uint16(packet.EtherTypeVLAN)
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = native.Uint16(aux[offAuxVLANTPID:])
	}
	tci := native.Uint16(aux[offAuxVLANTCI:])
	return vlanTag{byte(tpid >> 8), byte(tpid), byte(tci >> 8), byte(tci)}, true
}

// addresses is the length of the two addresses before a frame's first ethertype.
const addresses = 12

// putTag puts a tag back into a frame that has room for it at its start.
func putTag(data []byte, tag vlanTag) {
	copy(data[:addresses], data[packet.VLANLen:])
	copy(data[addresses:], tag[:])
}

// forward sends the frames that were accepted, in order.
func (w *worker) forward(frames []ppf.Frame) {
	n := 0
	for i := range frames {
		f := &frames[i]
		if f.Action == ppf.Drop || f.Done {
			continue
		}
		h := &w.heads[f.ID]
		h.forSending(f)
		iov := w.sendIOV[n][:0]
		iov = push(iov, h[:])
		if f.Head == nil {
			iov = push(iov, f.Data)
		}
		iov = push(push(push(iov, f.Head), f.Body), f.Padding())
		w.send[n].hdr.SetIovlen(len(iov))
		n++
	}
	for at := 0; at < n; {
		at += w.sendSome(w.send[at:n])
	}
}

func push(iov []unix.Iovec, b []byte) []unix.Iovec {
	if len(b) == 0 {
		return iov
	}
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return append(iov, v)
}

// sendSome sends the first of the messages, at least one, and tells how many it is
// done with. A frame that the kernel does not take is lost and counted: a queue
// that is full, a frame longer than the MTU, a kind of segmentation that the way
// out has no use for.
func (w *worker) sendSome(msgs []mmsghdr) int {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(w.tx), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), 0, 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == 0 && n > 0:
			w.sent.Add(uint64(n))
			return int(n)
		}
		w.failed.Add(1)
		return 1
	}
}

// emit sends a frame of ours, complete with checksums.
func (w *worker) emit(frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var head vnetHeader
	_, err := unix.SendmsgBuffers(w.tx, [][]byte{head[:], frame}, nil, nil, 0)
	if err != nil {
		w.failed.Add(1)
	}
	return err
}

// addStats adds what the worker counted. Frames for which its socket had no room
// are counted by the kernel since it was last asked.
func (w *worker) addStats(st *ppf.SourceStats) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rx >= 0 {
		if k, err := unix.GetsockoptTpacketStats(w.rx, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			w.socketDropped += uint64(k.Drops)
		}
	}
	st.Received += w.received.Load()
	st.Sent += w.sent.Load()
	st.KernelDropped += w.unsupported.Load()
	st.SocketDropped += w.socketDropped
	st.VerdictErrors += w.failed.Load()
}
