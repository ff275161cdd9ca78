package nfqueue

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// handlerFunc is a handler without ticks.
type handlerFunc func(batch []ppf.Frame)

func (h handlerFunc) Handle(batch []ppf.Frame) { h(batch) }
func (handlerFunc) Tick(int64)                 {}

// fed is a worker whose kernel is the other end of a socket pair.
type fed struct {
	*queue
	kernel int
	buf    []byte
}

func newFed(t testing.TB) *fed {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	f := &fed{&queue{number: 0x5050, fd: pair[0], wake: wake, mark: 1, now: func() int64 { return 42 }}, pair[1], make([]byte, 2*sendLimit)}
	if err := f.allocate(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.close()
		unix.Close(f.kernel)
	})
	return f
}

// datagram is a whole netlink message of the given type.
func datagram(kind uint16, body []byte) []byte {
	b := make([]byte, nlHeaderLen, nlHeaderLen+len(body))
	native.PutUint32(b, uint32(nlHeaderLen+len(body)))
	native.PutUint16(b[4:], kind)
	return append(b, body...)
}

func packetDatagram(id uint32, payload []byte) []byte {
	return datagram(subsysQueue<<8|msgPacket, message(attribute(attrPacketHdr, packetHdr(id, 2)), attribute(attrPayload, payload)))
}

func (f *fed) feed(t testing.TB, datagrams ...[]byte) {
	t.Helper()
	for _, d := range datagrams {
		if _, err := unix.Write(f.kernel, d); err != nil {
			t.Fatal(err)
		}
	}
}

// step lets the worker decide one read and gives the verdict messages of each
// send.
func (f *fed) step(t testing.TB, h ppf.Handler) (sends [][]verdict) {
	t.Helper()
	n, err := f.receive()
	if err != nil {
		t.Fatal(err)
	}
	// A batch may be longer than the socket's buffer: it is read while it is sent.
	decided := make(chan struct{})
	go func() {
		defer close(decided)
		f.decide(h, n, f.now())
	}()
	for last := false; ; {
		n, err := unix.Read(f.kernel, f.buf)
		switch {
		case err == nil:
			sends = append(sends, readVerdicts(t, f.buf[:n]))
		case err != unix.EAGAIN:
			t.Fatal(err)
		case last:
			return sends
		default:
			select {
			case <-decided:
				last = true // what was sent before the end is read yet
			default:
				runtime.Gosched()
			}
		}
	}
}

// verdict is what the kernel reads from a verdict message.
type verdict struct {
	id, verdict uint32
	payload     []byte
}

func readVerdicts(t testing.TB, b []byte) (list []verdict) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < nlHeaderLen+nfHeaderLen {
			t.Fatalf("%d bytes after the last verdict", len(b))
		}
		length := int(native.Uint32(b))
		if length > len(b) || length%4 != 0 || native.Uint16(b[4:]) != subsysQueue<<8|msgVerdict || binary.BigEndian.Uint16(b[nlHeaderLen+2:]) != 0x5050 {
			t.Fatalf("no verdict: % x", b[:nlHeaderLen+nfHeaderLen])
		}
		var v verdict
		for a := b[nlHeaderLen+nfHeaderLen : length]; len(a) >= attrLen; {
			n := int(native.Uint16(a))
			switch value := a[attrLen:n]; native.Uint16(a[2:]) {
			case attrVerdictHdr:
				v.verdict, v.id = binary.BigEndian.Uint32(value), binary.BigEndian.Uint32(value[4:])
			case attrPayload:
				v.payload = bytes.Clone(value)
			}
			a = a[min(align4(n), len(a)):]
		}
		list = append(list, v)
		b = b[length:]
	}
	return list
}

// ids gives the packets of all sends, which must have the same verdict.
func ids(t testing.TB, want uint32, sends [][]verdict) (list []uint32) {
	t.Helper()
	for _, v := range slices.Concat(sends...) {
		if v.verdict != want {
			t.Errorf("packet %d: verdict %d, want %d", v.id, v.verdict, want)
		}
		list = append(list, v.id)
	}
	return list
}

// pass sends every packet on as a new one: a header of ours and its payload.
var pass = handlerFunc(func(batch []ppf.Frame) {
	for i := range batch {
		f := &batch[i]
		f.Action, f.Head, f.Body = ppf.Accept, append(f.Buf[:0], "header "...), f.Data
	}
})

func TestWorkerSendsInOrder(t *testing.T) {
	f := newFed(t)
	var want []uint32
	for i := range uint32(batchLen) {
		f.feed(t, packetDatagram(i, []byte{byte(i), 1, 2}))
		want = append(want, i)
	}
	sends := f.step(t, pass)
	if len(sends) != 1 || !slices.Equal(ids(t, nfAccept, sends), want) {
		t.Fatalf("got %v, want one send of %v", sends, want)
	}
	for i, v := range sends[0] {
		if want := append([]byte("header "), byte(i), 1, 2); !bytes.Equal(v.payload, want) {
			t.Errorf("packet %d: payload %q, want %q", i, v.payload, want)
		}
	}
	if r, s := f.received.Load(), f.sent.Load(); r != batchLen || s != batchLen {
		t.Errorf("counted %d received, %d sent, want %d each", r, s, batchLen)
	}
}

// TestWorkerSplits wants long batches in sends below the limit, in order.
func TestWorkerSplits(t *testing.T) {
	f := newFed(t)
	body := make([]byte, 60000)
	f.feed(t, packetDatagram(0, nil), packetDatagram(1, nil), packetDatagram(2, nil), packetDatagram(3, nil), packetDatagram(4, nil))
	sends := f.step(t, handlerFunc(func(batch []ppf.Frame) {
		for i := range batch {
			batch[i].Action, batch[i].Head, batch[i].Body = ppf.Accept, batch[i].Buf[:20], body
		}
	}))
	var sizes []int
	for _, s := range sends {
		sizes = append(sizes, len(s))
	}
	if !slices.Equal(sizes, []int{2, 2, 1}) || !slices.Equal(ids(t, nfAccept, sends), []uint32{0, 1, 2, 3, 4}) {
		t.Errorf("sends of %v verdicts, want 2, 2 and 1", sizes)
	}
}

// TestWorkerForgotten: a frame that the handler does not touch is dropped, also
// where the frame before it in the same place was accepted.
func TestWorkerForgotten(t *testing.T) {
	f := newFed(t)
	f.feed(t, packetDatagram(1, []byte{1}))
	f.step(t, pass)
	f.feed(t, packetDatagram(2, []byte{1}))
	got := f.step(t, handlerFunc(func([]ppf.Frame) {}))
	if !slices.Equal(ids(t, nfDrop, got), []uint32{2}) {
		t.Errorf("got %v, want packet 2 dropped", got)
	}
}

// TestWorkerMalformed: messages that make no sense are counted, and the packet
// is dropped where its number is known, since it would wait for ever.
func TestWorkerMalformed(t *testing.T) {
	const kind = subsysQueue<<8 | msgPacket
	for _, tt := range []struct {
		name     string
		datagram []byte
		dropped  []uint32
	}{
		{"no message", []byte{1, 2, 3}, nil},
		{"length 0", make([]byte, nlHeaderLen), nil},
		{"length beyond the end", datagram(kind, message())[:nlHeaderLen], nil},
		{"no attributes", datagram(kind, message()), nil},
		{"no body", datagram(kind, nil), nil},
		{"unknown hook", datagram(kind, message(attribute(attrPacketHdr, packetHdr(7, 5)))), []uint32{7}},
		{"attribute beyond the end", datagram(kind, message(attribute(attrPacketHdr, packetHdr(8, 2)), []byte{40, 0, 10, 0})), []uint32{8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFed(t)
			f.feed(t, tt.datagram, packetDatagram(9, nil))
			sends := f.step(t, handlerFunc(func(batch []ppf.Frame) {
				if len(batch) != 1 || batch[0].ID != 9 {
					t.Errorf("the handler got %d frames", len(batch))
				}
			}))
			if got, want := ids(t, nfDrop, sends), append(tt.dropped, 9); !slices.Equal(got, want) {
				t.Errorf("dropped %v, want %v", got, want)
			}
			if n := f.malformed.Load(); n != 1 {
				t.Errorf("%d malformed, want 1", n)
			}
		})
	}
}

// TestWorkerTooLong: what no attribute holds is dropped, not sent with a length
// that wrapped.
func TestWorkerTooLong(t *testing.T) {
	f := newFed(t)
	body := make([]byte, copyRange)
	f.feed(t, packetDatagram(1, nil), packetDatagram(2, nil))
	sends := f.step(t, handlerFunc(func(batch []ppf.Frame) {
		batch[0].Action, batch[0].Head, batch[0].Body = ppf.Accept, batch[0].Buf[:1], body
		batch[1].Action, batch[1].Head, batch[1].Body = ppf.Accept, batch[1].Buf[:1], body[1:]
	}))
	all := slices.Concat(sends...)
	if len(all) != 2 || all[0].verdict != nfDrop || all[1].verdict != nfAccept || len(all[1].payload) != copyRange {
		t.Fatalf("%d verdicts, want a drop and an accept with %d bytes", len(all), copyRange)
	}
	if e, s := f.verdictErrors.Load(), f.sent.Load(); e != 1 || s != 1 {
		t.Errorf("counted %d errors and %d sent, want 1 each", e, s)
	}
}

// TestWorkerSendRefused: where the kernel takes no long send, every packet of it
// is dropped, and none counts as sent.
func TestWorkerSendRefused(t *testing.T) {
	f := newFed(t)
	if err := unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8192); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 60000)
	f.feed(t, packetDatagram(1, nil), packetDatagram(2, nil))
	sends := f.step(t, handlerFunc(func(batch []ppf.Frame) {
		for i := range batch {
			batch[i].Action, batch[i].Head, batch[i].Body = ppf.Accept, batch[i].Buf[:20], body
		}
	}))
	if got := ids(t, nfDrop, sends); !slices.Equal(got, []uint32{1, 2}) {
		t.Errorf("dropped %v, want both packets", got)
	}
	if e, s := f.verdictErrors.Load(), f.sent.Load(); e != 2 || s != 0 {
		t.Errorf("counted %d errors and %d sent, want 2 and 0", e, s)
	}
}

// TestWorkerErrors counts the kernel's answers to verdicts that it refused.
func TestWorkerErrors(t *testing.T) {
	f := newFed(t)
	f.feed(t, datagram(unix.NLMSG_ERROR, append(binary.NativeEndian.AppendUint32(nil, ^uint32(unix.ENOENT)+1), make([]byte, nlHeaderLen)...)))
	if sends := f.step(t, pass); len(sends) != 0 || f.verdictErrors.Load() != 1 || f.received.Load() != 0 {
		t.Errorf("%v sent, %d errors, %d received", sends, f.verdictErrors.Load(), f.received.Load())
	}
}

// round is what a worker does with a full batch, from waiting to its verdicts.
func (f *fed) round(t testing.TB, d []byte) {
	for range batchLen {
		if _, err := unix.Write(f.kernel, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.wait(); err != nil {
		t.Fatal(err)
	}
	n, err := f.receive()
	if err != nil || n != batchLen {
		t.Fatalf("received %d, %v", n, err)
	}
	f.decide(pass, n, f.now())
	if _, err := unix.Read(f.kernel, f.buf); err != nil {
		t.Fatal(err)
	}
}

func TestWorkerAllocations(t *testing.T) {
	f := newFed(t)
	d := packetDatagram(7, make([]byte, 1400))
	if n := testing.AllocsPerRun(50, func() { f.round(t, d) }); n != 0 {
		t.Errorf("%v allocations for %d packets, want 0", n, batchLen)
	}
}

// BenchmarkWorker includes the fake kernel: a write for each packet and a read
// for each batch.
func BenchmarkWorker(b *testing.B) {
	f := newFed(b)
	d := packetDatagram(7, make([]byte, 1400))
	b.ReportAllocs()
	for b.Loop() {
		f.round(b, d)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchLen, "ns/packet")
}

func TestReadsAreAsLargeAsACacheHolds(t *testing.T) {
	f := newFed(t)
	tests := []struct {
		name    string
		lengths []uint32
		want    int
	}{
		{"none", []uint32{0}, batchLen},
		{"acknowledgments", []uint32{120, 120, 120}, batchLen},
		{"full segments", slices.Repeat([]uint32{1600}, batchLen), batchLen},
		{"super-packets", []uint32{65_000, 65_000}, 4},
		{"super-packets between acknowledgments", []uint32{65_000, 100, 65_000, 100}, 8},
		{"the longest", []uint32{messageLen}, 3},
	}
	for _, tt := range tests {
		for i, n := range tt.lengths {
			f.hdrs[i].len = n
		}
		if f.makeRoom(len(tt.lengths)); f.room != tt.want {
			t.Errorf("%s: the next read takes %d packets, want %d", tt.name, f.room, tt.want)
		}
	}
}
