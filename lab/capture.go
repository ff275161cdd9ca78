package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// CaptureOptions say what a Capture takes. The zero value takes all frames of
// EndInterface into memory.
type CaptureOptions struct {
	Interface string
	// Filter chooses frames; nil takes all. It runs on the capture's goroutine and
	// must not keep its argument.
	Filter func(frame []byte) bool
	// Writer gets a pcapng file; nil for none. It is not closed.
	Writer io.Writer
	// Discard keeps no frames in memory; for long captures to Writer.
	Discard bool
}

// Frame is one captured frame.
type Frame struct {
	Time     time.Time
	Data     []byte // with the Ethernet header and a VLAN tag that the kernel took out
	Outgoing bool   // sent by the host
	// ChecksumPending says that the layer-4 checksum is not written yet: the sender
	// leaves it to the card. Never so with NoOffloads.
	ChecksumPending bool
}

// CaptureStats count what a capture met.
type CaptureStats struct {
	Frames  uint64 // taken, after the filter
	Skipped uint64 // not wanted by the filter
	Dropped uint64 // lost by the kernel because the capture was too slow
}

// Capture is a tap on one interface, at work from its making to Stop. Methods are
// safe for concurrent use.
type Capture struct {
	name    string
	options CaptureOptions
	file    *os.File
	conn    syscall.RawConn
	writer  *pcapgo.NgWriter
	done    chan struct{}

	mu      sync.Mutex
	arrived chan struct{} // closed by the next frame; nil when nobody waits
	frames  []Frame
	stats   CaptureStats
	queued  uint32 // by the kernel for us until the end, modulo 2^32
	err     error
}

const (
	captureBuffer = 64 << 20 // bytes that the kernel may hold for us
	captureFrame  = 1 << 18  // bytes; segmentation offload makes 64 KiB, BIG TCP up to 192 KiB
	vlanTagOffset = 12
)

// Capture starts a capture on the host. The caller calls Stop.
func (h *Host) Capture(options CaptureOptions) (*Capture, error) {
	if options.Interface == "" {
		options.Interface = EndInterface
	}
	c := &Capture{name: h.Name + " " + options.Interface, options: options, done: make(chan struct{})}
	if options.Writer != nil {
		var err error
		if c.writer, err = newFrameWriter(options.Writer, c.name); err != nil {
			return nil, fmt.Errorf("capture on %s: %w", c.name, err)
		}
	}
	err := h.Do(func() error {
		fd, err := packetSocket(options.Interface, unix.ETH_P_ALL, unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		c.file = os.NewFile(uintptr(fd), "capture")
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer); err != nil {
			// In a user namespace only the machine's limit is ours.
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_TIMESTAMPNS", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return os.NewSyscallError("setsockopt PACKET_AUXDATA", err)
		}
		c.conn, err = c.file.SyscallConn()
		return err
	})
	if err != nil {
		if c.file != nil {
			c.file.Close()
		}
		return nil, fmt.Errorf("capture: %w", err)
	}
	go c.run()
	return c, nil
}

// Stop takes what has arrived so far, ends the capture and gives its counters. A
// second call gives the same.
func (c *Capture) Stop() (CaptureStats, error) {
	// It fails only where the capture has ended by itself.
	_ = c.file.SetReadDeadline(time.Unix(1, 0))
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats, c.err
}

// Frames gives the frames taken so far, in order; their bytes are shared and must
// not be changed.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// Wait gives the first frame that match wants, among those taken already and
// those to come until ctx or the capture ends. It sees nothing with Discard.
func (c *Capture) Wait(ctx context.Context, match func(Frame) bool) (Frame, error) {
	seen := 0
	for {
		c.mu.Lock()
		if c.arrived == nil {
			c.arrived = make(chan struct{})
		}
		fresh, arrived := c.frames[seen:], c.arrived
		c.mu.Unlock()
		if i := slices.IndexFunc(fresh, match); i >= 0 {
			return fresh[i], nil
		}
		seen += len(fresh)
		if len(fresh) > 0 {
			continue
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return Frame{}, fmt.Errorf("capture on %s: the awaited frame is not among %d: %w", c.name, seen, context.Cause(ctx))
		case <-c.done:
			c.mu.Lock()
			complete := seen == len(c.frames)
			c.mu.Unlock()
			if complete {
				return Frame{}, fmt.Errorf("capture on %s: ended without the awaited frame among %d", c.name, seen)
			}
		}
	}
}

// run owns the socket.
func (c *Capture) run() {
	defer close(c.done)
	defer c.file.Close()
	buf, oob := make([]byte, captureFrame), make([]byte, 256)
	var n, oobn int
	var from unix.Sockaddr
	var err error
	receive := func(fd uintptr) bool {
		for {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	}
	var end error
	for end == nil {
		if end = c.conn.Read(receive); end == nil {
			if end = err; end == nil {
				end = c.take(buf[:n], oob[:oobn], from)
			}
		}
	}
	if errors.Is(end, os.ErrDeadlineExceeded) {
		// Stop: what has arrived until now is still taken. The kernel's count tells how
		// much that is; the time of a frame does not, because the first frames of a
		// machine's first capture get theirs when they are read (net/socket.c,
		// __sock_recv_timestamp).
		end = c.count()
		for end == nil && c.waiting() > 0 {
			if end = c.conn.Control(func(fd uintptr) { receive(fd) }); end == nil {
				if end = err; end == nil {
					end = c.take(buf[:n], oob[:oobn], from)
				}
			}
		}
	} else {
		end = errors.Join(end, c.count()) // the interface went, or it failed
	}
	if errors.Is(end, unix.EAGAIN) || errors.Is(end, unix.ENETDOWN) {
		end = nil // all taken; or the interface went with its lab
	}
	c.finish(end)
}

// count reads the kernel's counters, once.
func (c *Capture) count() error {
	var stats *unix.TpacketStats
	var failed error
	if err := c.conn.Control(func(fd uintptr) {
		stats, failed = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); err != nil {
		return err
	}
	if failed != nil {
		return os.NewSyscallError("getsockopt PACKET_STATISTICS", failed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Dropped = uint64(stats.Drops)
	c.queued = stats.Packets - stats.Drops
	return nil
}

// waiting is how many of the frames counted were not taken yet. The kernel counts
// in 32 bits.
func (c *Capture) waiting() int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int32(c.queued - uint32(c.stats.Frames+c.stats.Skipped))
}

// finish completes the file.
func (c *Capture) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writer != nil {
		err = errors.Join(err, c.writer.Flush())
	}
	if err != nil {
		c.err = fmt.Errorf("capture on %s: %w", c.name, err)
	}
}

// take copies one received frame.
func (c *Capture) take(data, oob []byte, from unix.Sockaddr) error {
	f := Frame{Time: time.Now()}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		f.Outgoing = ll.Pkttype == unix.PACKET_OUTGOING
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return os.NewSyscallError("recvmsg", err)
	}
	var tag []byte
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})):
			ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			f.Time = time.Unix(ts.Unix())
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= int(unsafe.Sizeof(unix.TpacketAuxdata{})):
			aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
			f.ChecksumPending = aux.Status&unix.TP_STATUS_CSUMNOTREADY != 0
			if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
				tpid := uint16(unix.ETH_P_8021Q)
				if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
					tpid = aux.Vlan_tpid
				}
				tag = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), aux.Vlan_tci)
			}
		}
	}
	if tag != nil && len(data) >= vlanTagOffset {
		f.Data = slices.Concat(data[:vlanTagOffset], tag, data[vlanTagOffset:])
	} else {
		f.Data = slices.Clone(data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.options.Filter != nil && !c.options.Filter(f.Data) {
		c.stats.Skipped++
		return nil
	}
	c.stats.Frames++
	if c.writer != nil {
		if err := writeFrame(c.writer, f); err != nil {
			return err
		}
	}
	if !c.options.Discard {
		c.frames = append(c.frames, f)
		if c.arrived != nil {
			close(c.arrived)
			c.arrived = nil
		}
	}
	return nil
}
