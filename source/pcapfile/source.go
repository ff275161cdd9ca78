package pcapfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Source delivers a file's packets one by one, in the order of the file, and
// writes what is sent. Its follower (Follow) must be set on the engine whose
// handler it runs.
type Source struct {
	in     *Reader
	out    *Writer
	drops  *Writer // nil: what is dropped is not kept
	report *Report
	env    *env

	first   *Record // read already
	n       int     // of the packet that is being judged, from 1
	record  Record  // the latest with an IP packet
	head    linkHeader
	from    netip.Addr // who sent it
	told    bool       // the follower has had it
	emitted []extra
	wire    *wire     // nil: packets begin with the IP header
	waiting []waiting // fragments whose others have not come yet
	err     error     // of writing
	buf     []byte
}

// waiting is a fragment that is held.
type waiting struct {
	n              int
	record         Record
	instance, flow string
}

// extra is a packet that a function has sent beside those of the capture.
type extra struct {
	data     []byte
	ethernet bool // it begins with an Ethernet header
}

// mtu is that of the links that nearly all captures are made on. Where packets of
// the capture are longer, its links took more.
const mtu = 1500

var _ ppf.Source = (*Source)(nil)

// Workers is 1: a file has one order.
func (*Source) Workers() int { return 1 }

// Run judges all packets up to the end of the file.
func (s *Source) Run(ctx context.Context, handlers []ppf.Handler) error {
	frames := make([]ppf.Frame, 1)
	for s.err == nil {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		r, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		s.judge(handlers[0], frames, r)
	}
	for _, h := range s.waiting {
		s.fail(s.report.add(h.n, h.record.Time, ActionHeld, h.instance, h.flow, nil, 0))
	}
	s.waiting = nil
	return s.err
}

func (s *Source) next() (Record, error) {
	if s.first != nil {
		r := *s.first
		s.first = nil
		return r, nil
	}
	return s.in.Next()
}

// judge lets the handler decide one packet. What was due before it is done first.
func (s *Source) judge(h ppf.Handler, frames []ppf.Frame, r Record) {
	now := s.env.advance(r.Time)
	h.Tick(now)
	s.flushEmitted("", "")
	s.n++
	var head linkHeader
	ip, ok := head.parse(&r, s.in.order)
	if s.wire != nil && r.Link == LinkEthernet {
		s.record, s.head = r, head
		f := &frames[0]
		*f = ppf.Frame{
			Data: r.Data, WireLen: r.WireLen, Link: packet.LinkEthernet, Hook: s.wire.port(r.Data), Wire: s.wire, Time: now, ID: uint32(s.n),
			MTU: max(mtu, len(r.Data)-packet.EthernetLen),
		}
		s.handle(h, frames)
		return
	}
	if !ok {
		// No packet function knows what this is.
		s.fate(r.Time, ActionUnmatched, "", "", nil, s.write(r))
		return
	}
	s.record, s.head = r, head
	f := &frames[0]
	*f = ppf.Frame{
		Data: ip, WireLen: r.WireLen - (len(r.Data) - len(ip)), Link: packet.LinkRawIP, Hook: ppf.Forward, Time: now, ID: uint32(s.n),
		MTU: max(mtu, len(ip)),
	}
	if r.Link == LinkEthernet {
		f.SrcMAC, f.HasMAC = s.head.eth.Src, true
	}
	s.handle(h, frames)
}

// handle lets the handler decide the packet, and wants its fate told.
func (s *Source) handle(h ppf.Handler, frames []ppf.Frame) {
	s.told = false
	h.Handle(frames)
	if !s.told && s.err == nil {
		s.err = fmt.Errorf("replay packet %d: the engine tells no fate (set the source's follower)", s.n)
	}
}

// Follow is what the engine calls with a packet's fate.
func (s *Source) Follow(fate *ppf.Fate) {
	f := fate.Frame
	flow := ""
	if fate.Number != 0 {
		flow = fate.Dir.String()
	}
	if fate.Again {
		s.again(fate)
		return
	}
	s.told, s.from = true, fate.In.Src()
	if fate.Held {
		r := s.record
		r.Data = slices.Clone(r.Data)
		s.waiting = append(s.waiting, waiting{s.n, r, fate.Instance, flow})
		return
	}
	action := actionOf(fate)
	number := 0
	switch {
	case fate.Number == 0 && slices.ContainsFunc(fate.Causes, func(c ppf.Cause) bool { return c.Reason == ppf.ReasonUnmatched }):
		// A wire drops it; here it is copied, as any packet of no instance.
		s.fate(s.record.Time, ActionUnmatched, "", "", nil, s.write(s.record))
		return
	case len(fate.Pieces) > 0:
		number = s.writeSent(f, fate.Pieces[0])
	case f.Action != ppf.Drop && f.Head == nil:
		number = s.write(s.record)
	case f.Action != ppf.Drop:
		number = s.writeSent(f, slices.Concat(f.Head, f.Body, f.Padding()))
	case action == ActionDropped && s.drops != nil:
		s.drop(s.record, fate.Causes)
	}
	s.fate(s.record.Time, action, fate.Instance, flow, fate.Causes, number)
	for _, piece := range fate.Pieces[min(1, len(fate.Pieces)):] {
		s.fate(s.record.Time, ActionSplit, fate.Instance, flow, nil, s.writeSent(f, piece))
	}
	s.flushEmitted(fate.Instance, flow)
}

// again says what became of a fragment that was held.
func (s *Source) again(fate *ppf.Fate) {
	i := slices.IndexFunc(s.waiting, func(h waiting) bool { return uint32(h.n) == fate.Frame.ID })
	if i < 0 {
		s.fail(fmt.Errorf("replay packet %d: the engine tells what became of it twice", fate.Frame.ID))
		return
	}
	h := s.waiting[i]
	s.waiting = slices.Delete(s.waiting, i, i+1)
	action := ActionMerged
	if len(fate.Causes) > 0 {
		action = ActionDropped
		if s.drops != nil {
			s.drop(h.record, fate.Causes)
		}
	}
	s.fail(s.report.add(h.n, h.record.Time, action, h.instance, h.flow, fate.Causes, 0))
}

// actionOf sorts a packet's fate.
func actionOf(fate *ppf.Fate) Action {
	repaired := slices.ContainsFunc(fate.Causes, func(c ppf.Cause) bool { return c.Outcome == ppf.OutcomeRepair })
	switch {
	case fate.Frame.Action == ppf.Drop && len(fate.Causes) == 0:
		return ActionHeld // stolen: the module keeps it
	case fate.Frame.Action == ppf.Drop:
		return ActionDropped
	case fate.Number == 0:
		return ActionUnmatched
	case repaired:
		return ActionRepaired
	}
	return ActionSent
}

// drop keeps a packet that was dropped, as it was received.
func (s *Source) drop(r Record, causes []ppf.Cause) {
	comment := ""
	for _, c := range causes {
		info := c.Reason.Info()
		if comment != "" {
			comment += "; "
		}
		comment += fmt.Sprintf("%v %s: %s %d", c.Outcome, info.Name, info.Field, c.Value)
	}
	s.fail(s.drops.Write(r, comment))
}

// write sends a packet on and gives its number in the file.
func (s *Source) write(r Record) int {
	s.fail(s.out.Write(r, ""))
	return s.out.Count()
}

// writeSent sends what was built for a frame.
func (s *Source) writeSent(f *ppf.Frame, b []byte) int {
	if f.Link == packet.LinkEthernet {
		return s.writeFrame(b, s.record.Time)
	}
	return s.writeIP(b, &s.head, s.record.Time)
}

// writeFrame sends a packet with its link header.
func (s *Source) writeFrame(b []byte, at int64) int {
	r := s.record
	r.Time, r.Data, r.WireLen = at, b, len(b)
	return s.write(r)
}

// writeIP sends an IP packet behind a link header written anew.
func (s *Source) writeIP(ip []byte, h *linkHeader, at int64) int {
	s.buf = append(h.append(s.buf[:0], ip), ip...)
	return s.writeFrame(s.buf, at)
}

// Emit sends an extra packet. It is written behind the packet that is being
// judged, and carries that one's link header, turned round where it goes back to
// its sender.
func (s *Source) Emit(pkt []byte) error {
	if len(pkt) == 0 {
		return errors.New("emit packet: it is empty")
	}
	s.emitted = append(s.emitted, extra{slices.Clone(pkt), false})
	return nil
}

// flushEmitted writes the extra packets of a packet, or of the time before it.
func (s *Source) flushEmitted(instance, flow string) {
	for _, e := range s.emitted {
		at := s.env.Now()
		if e.ethernet {
			s.fate(at, ActionEmitted, instance, flow, nil, s.writeFrame(e.data, at))
			continue
		}
		h := &s.head
		var p packet.Packet
		if p.Parse(packet.LinkRawIP, e.data); p.Dst() == s.from {
			back := s.head.reverse()
			h = &back
		}
		s.fate(at, ActionEmitted, instance, flow, nil, s.writeIP(e.data, h, at))
	}
	s.emitted = s.emitted[:0]
}

// fate adds a line to the report.
func (s *Source) fate(at int64, a Action, instance, flow string, causes []ppf.Cause, out int) {
	s.fail(s.report.add(s.n, at, a, instance, flow, causes, out))
}

func (s *Source) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Stats counts packets of the files.
func (s *Source) Stats() ([]ppf.SourceStats, error) {
	sum := s.report.Sums
	return []ppf.SourceStats{{Name: "capture file", Received: sum.In, Sent: sum.Out - sum.Emitted - sum.Split, Emitted: sum.Emitted}}, nil
}

// Close writes out what is buffered; the files are the caller's.
func (s *Source) Close() error {
	err := errors.Join(s.out.Flush(), s.report.close())
	if s.drops != nil {
		err = errors.Join(err, s.drops.Flush())
	}
	return err
}
