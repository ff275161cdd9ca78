package nfqueue_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
	"github.com/promethos/promethos/rules"
	"github.com/promethos/promethos/source/nfqueue"
)

func TestMain(m *testing.M) { os.Exit(lab.RunTests(m)) }

const firstQueue = 30000

// decider is a handler made of a function for each frame.
type decider struct {
	decide func(f *ppf.Frame)
	ticks  atomic.Int64
	frames atomic.Int64
}

func (d *decider) Handle(batch []ppf.Frame) {
	for i := range batch {
		d.frames.Add(1)
		d.decide(&batch[i])
	}
}

func (d *decider) Tick(int64) { d.ticks.Add(1) }

// site is a lab whose proxy host hands UDP and ICMP of the server to a queue.
type site struct {
	*lab.Lab
	udp *lab.UDPServer
}

func newSite(t *testing.T) *site {
	t.Helper()
	lab.Require(t)
	l, err := lab.Up(t.Context(), lab.Options{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	s := &site{Lab: l}
	if s.udp, err = l.Server.StartUDPEcho(t.Context(), net.JoinHostPort(l.Server.IPv4.String(), "0")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.udp.Close() })
	if err := l.Proxy.Do(func() error {
		k, err := rules.OpenKernel()
		if err != nil {
			return err
		}
		defer k.Close()
		features, err := k.Probe()
		if err != nil {
			return err
		}
		match := ppf.Match{Server: []netip.Prefix{netip.PrefixFrom(l.Server.IPv4, 32)}}
		p := rules.Plan{Closed: rules.Queues{First: firstQueue, Count: 1}, Open: rules.Queues{First: firstQueue + 1, Count: 1}}
		for d := range ppf.Dir(2) {
			p.Selectors = append(p.Selectors, rules.Selector{Dir: d, Hook: ppf.Forward, Criteria: match.Flow(d)})
		}
		rs, err := rules.Compile(p, features)
		if err != nil {
			return err
		}
		return k.Apply(rs)
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func now() int64 { return time.Now().UnixNano() }

// open opens queues in the proxy host.
func (s *site) open(queues ...uint16) (*nfqueue.Source, error) {
	return s.openWith(nfqueue.Config{Queues: queues})
}

// openWith is open with more settings.
func (s *site) openWith(c nfqueue.Config) (src *nfqueue.Source, err error) {
	c.Mark, c.Now = rules.Mark, now
	err = s.Proxy.Do(func() error {
		src, err = nfqueue.Open(c)
		return err
	})
	return src, err
}

// run opens the queue and decides its packets until the test ends.
func (s *site) run(t *testing.T, decide func(*ppf.Frame)) (*nfqueue.Source, *decider) {
	t.Helper()
	return s.runWith(t, nfqueue.Config{}, decide)
}

// runWith is run with settings of the queue.
func (s *site) runWith(t *testing.T, c nfqueue.Config, decide func(*ppf.Frame)) (*nfqueue.Source, *decider) {
	t.Helper()
	c.Queues = []uint16{firstQueue}
	src, err := s.openWith(c)
	if err != nil {
		t.Fatal(err)
	}
	d := &decider{decide: decide}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, []ppf.Handler{d}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src, d
}

// patience bounds what a test waits for; nothing that works takes so long, on
// however busy a machine.
const patience = time.Minute

// echo sends three datagrams that should come back, and says how many do.
func (s *site) echo(t *testing.T, size int) int {
	t.Helper()
	return s.echoWithin(t, size, patience)
}

// unanswered is echo where none should come back.
func (s *site) unanswered(t *testing.T, size int) int {
	t.Helper()
	return s.echoWithin(t, size, 100*time.Millisecond)
}

func (s *site) echoWithin(t *testing.T, size int, answer time.Duration) int {
	t.Helper()
	r, err := s.Client.UDPEcho(t.Context(), s.udp.Addr, lab.EchoOptions{Count: 3, Size: size, Timeout: answer})
	if err != nil {
		t.Fatal(err)
	}
	return r.Received
}

// await waits until a counter has come to n.
func await(t *testing.T, what string, counter *atomic.Int64, n int64) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for counter.Load() < n {
		select {
		case <-deadline:
			t.Fatalf("%d %s, want %d", counter.Load(), what, n)
		case <-tick.C:
		}
	}
}

func accept(f *ppf.Frame) { f.Action = ppf.Accept }

func TestAccept(t *testing.T) {
	s := newSite(t)
	var seen atomic.Pointer[ppf.Frame]
	src, d := s.run(t, func(f *ppf.Frame) {
		accept(f)
		c := ppf.Frame{Hook: f.Hook, In: f.In, Out: f.Out, WireLen: f.WireLen, HasMAC: f.HasMAC, Time: f.Time}
		seen.Store(&c)
	})
	if n := s.echo(t, 100); n != 3 {
		t.Errorf("%d of 3 answers", n)
	}
	f := seen.Load()
	if f == nil || f.Hook != ppf.Forward || f.In == 0 || f.Out == 0 || f.In == f.Out || f.WireLen != 128 || !f.HasMAC || f.Time == 0 {
		t.Errorf("frame %+v", f)
	}
	st, err := src.Stats()
	if err != nil || len(st) != 1 || st[0].Received != 6 || st[0].Sent != 6 || st[0].VerdictErrors != 0 || uint64(d.frames.Load()) != st[0].Received {
		t.Errorf("stats %+v, %v", st, err)
	}
	if n, err := s.Client.Ping(t.Context(), s.Server.IPv4, lab.EchoOptions{Size: 60000}); err != nil || n.Received != 1 {
		t.Errorf("ping of 60,000 bytes in fragments: %+v, %v", n, err)
	}
}

// TestNice: a worker that gives way has a thread of its own with that priority,
// another one has what the program has.
func TestNice(t *testing.T) {
	for _, nice := range []int{0, 7} {
		s := newSite(t)
		var got atomic.Int64
		s.runWith(t, nfqueue.Config{Nice: nice}, func(f *ppf.Frame) {
			accept(f)
			p, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
			if err != nil {
				t.Error(err)
			}
			got.Store(20 - int64(p)) // as the system call gives it (getpriority(2))
		})
		own, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if n := s.echo(t, 100); n != 3 {
			t.Errorf("%d of 3 answers", n)
		}
		want := int64(nice)
		if nice == 0 {
			want = 20 - int64(own)
		}
		if got.Load() != want {
			t.Errorf("nice %d: got %d, want %d", nice, got.Load(), want)
		}
	}
}

func TestDrop(t *testing.T) {
	s := newSite(t)
	_, d := s.run(t, func(f *ppf.Frame) { f.Action = ppf.Drop })
	if n := s.unanswered(t, 100); n != 0 {
		t.Errorf("%d answers", n)
	}
	await(t, "packets", &d.frames, 3)
	if n := d.frames.Load(); n != 3 {
		t.Errorf("%d packets, want 3", n)
	}
}

// TestRebuild sends packets of another size than the received ones: the echo
// server answers what it got, and the client compares.
func TestRebuild(t *testing.T) {
	s := newSite(t)
	var cut atomic.Int64
	var in packet.Packet
	s.run(t, func(f *ppf.Frame) {
		accept(f)
		if in.Parse(f.Link, f.Data) != packet.ReasonNone || !in.Has(packet.HasUDP) {
			return
		}
		ip, udp := in.IPv4(), in.UDP()
		var out packet.Out
		out.SetIPv4(packet.IPv4{TTL: 9, DF: true, Src: ip.Src(), Dst: ip.Dst()})
		out.SetUDP(packet.UDP{SrcPort: udp.SrcPort(), DstPort: udp.DstPort()})
		body := in.Payload()
		if netip.AddrPortFrom(ip.Dst(), udp.DstPort()).String() == s.udp.Addr {
			body = body[:len(body)-int(cut.Load())]
		}
		out.SetPayload(body)
		head, err := out.Encode(f.Buf[:])
		if err != nil {
			f.Action = ppf.Drop
			return
		}
		f.Head, f.Body = head, body
	})
	if n := s.echo(t, 1001); n != 3 {
		t.Errorf("rebuilt: %d of 3 answers", n)
	}
	cut.Store(7)
	if _, err := s.Client.UDPEcho(t.Context(), s.udp.Addr, lab.EchoOptions{Size: 1001}); !errors.Is(err, lab.ErrCorrupt) {
		t.Errorf("cut by 7 bytes: got %v, want %v", err, lab.ErrCorrupt)
	}
}

// TestRepeat wants a repeated packet to pass the hook once more, past our rules.
func TestRepeat(t *testing.T) {
	s := newSite(t)
	_, d := s.run(t, func(f *ppf.Frame) { f.Action = ppf.Repeat })
	if n := s.echo(t, 100); n != 3 || d.frames.Load() != 6 {
		t.Errorf("%d answers, %d packets; want 3 and 6", n, d.frames.Load())
	}
}

// TestQueue hands packets to another queue, where somebody else decides.
func TestQueue(t *testing.T) {
	s := newSite(t)
	second, err := s.open(firstQueue + 7)
	if err != nil {
		t.Fatal(err)
	}
	other := &decider{decide: accept}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx, []ppf.Handler{other}) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, second.Close()); err != nil {
			t.Error(err)
		}
	}()
	s.run(t, func(f *ppf.Frame) { f.Action, f.Queue = ppf.Queue, firstQueue+7 })
	if n := s.echo(t, 100); n != 3 || other.frames.Load() != 6 {
		t.Errorf("%d answers, %d packets at the second queue; want 3 and 6", n, other.frames.Load())
	}
}

// TestEmit sends a packet of ours: it arrives and comes back to no hook of ours.
func TestEmit(t *testing.T) {
	s := newSite(t)
	var back atomic.Int64
	var got packet.Packet
	src, _ := s.run(t, func(f *ppf.Frame) {
		accept(f)
		// The server refuses the port with an ICMP error, which may come here.
		if got.Parse(f.Link, f.Data) == packet.ReasonNone && got.Has(packet.HasUDP) {
			back.Add(1)
		}
	})
	capture, err := s.Server.Capture(lab.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Stop()
	var out packet.Out
	out.SetIPv4(packet.IPv4{TTL: 64, DF: true, Src: s.Client.IPv4, Dst: s.Server.IPv4})
	out.SetUDP(packet.UDP{SrcPort: 7, DstPort: 7777})
	head, err := out.Encode(make([]byte, packet.MaxHeaders))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Emit(head); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var in packet.Packet
	if _, err := capture.Wait(ctx, func(f lab.Frame) bool {
		return in.Parse(packet.LinkEthernet, f.Data) == packet.ReasonNone && in.DstPort() == 7777 && in.IPv4().ID() == 0
	}); err != nil {
		t.Errorf("the emitted packet with identification 0: %v", err)
	}
	if back.Load() != 0 {
		t.Errorf("the emitted packet came to the queue %d times", back.Load())
	}
	if err := src.Emit([]byte{1}); err == nil {
		t.Error("one byte was emitted")
	}
}

func TestInUse(t *testing.T) {
	s := newSite(t)
	first, err := s.open(firstQueue, firstQueue+1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.open(firstQueue+5, firstQueue+1); !errors.Is(err, nfqueue.ErrQueueInUse) {
		t.Errorf("got %v, want %v", err, nfqueue.ErrQueueInUse)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	// What a failed Open had bound is free again, and so is what was closed.
	again, err := s.open(firstQueue+5, firstQueue+1)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestClosed: without a daemon what is selected is dropped.
func TestClosed(t *testing.T) {
	s := newSite(t)
	if n := s.unanswered(t, 100); n != 0 {
		t.Errorf("%d answers with nobody on the queue", n)
	}
	src, err := s.open(firstQueue)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if n := s.unanswered(t, 100); n != 0 {
		t.Errorf("%d answers after Close", n)
	}
}

// TestTick wants ticks without traffic, and Run to end when it is told.
func TestTick(t *testing.T) {
	s := newSite(t)
	src, err := s.open(firstQueue)
	if err != nil {
		t.Fatal(err)
	}
	d := &decider{decide: accept}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, []ppf.Handler{d}) }()
	await(t, "ticks", &d.ticks, 2)
	cancel()
	if err := errors.Join(<-done, src.Close()); err != nil {
		t.Error(err)
	}
	if err := src.Run(t.Context(), []ppf.Handler{d}); err == nil {
		t.Error("a closed source runs")
	}
}

// TestSuperPackets moves bulk TCP through, which arrives as super-packets.
func TestSuperPackets(t *testing.T) {
	s := newSite(t)
	bulk, err := s.Server.StartBulk(t.Context(), net.JoinHostPort(s.Server.IPv4.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer bulk.Close()
	var gso atomic.Int64
	s.run(t, func(f *ppf.Frame) {
		accept(f)
		if f.GSO && f.WireLen > 10000 && f.WireLen == len(f.Data) {
			gso.Add(1)
		}
	})
	if _, err := s.Client.Bulk(t.Context(), bulk.Addr, lab.BulkOptions{Bytes: 50 << 20}); err != nil {
		t.Error(err)
	}
	if gso.Load() == 0 {
		t.Error("no super-packet was seen")
	}
}

// TestClaim: of a namespace's claims one is given, and it is free again when that is
// given back.
func TestClaim(t *testing.T) {
	s := newSite(t)
	take := func() (c *nfqueue.Claim, who string, err error) {
		err = s.Proxy.Do(func() error {
			c, err = nfqueue.TakeClaim()
			who = nfqueue.Claimed()
			return err
		})
		return c, who, err
	}
	first, who, err := take()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("process %d", os.Getpid()); !strings.HasPrefix(who, want) {
		t.Errorf("claimed by %q, want %s", who, want)
	}
	if _, _, err := take(); !errors.Is(err, nfqueue.ErrClaimed) {
		t.Errorf("got %v, want %v", err, nfqueue.ErrClaimed)
	}
	first.Close()
	first.Close() // once more does nothing
	again, _, err := take()
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if err := s.Proxy.Do(func() error { who = nfqueue.Claimed(); return nil }); err != nil || who != "" {
		t.Errorf("claimed by %q, %v; want nobody", who, err)
	}
}
