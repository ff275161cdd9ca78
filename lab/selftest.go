package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// SelftestPort is the server's port that triggers go to.
const SelftestPort = 502

// SelftestRow is the outcome of one vulnerability, as `selftest --cve --json`
// prints it.
type SelftestRow struct {
	CVE    string `json:"cve"`
	Family string `json:"family"`
	Check  string `json:"check"`
	// Verdict is stopped, rebuilt, not-covered or unpublished, and arrived where
	// the proxy let the trigger through.
	Verdict   string    `json:"verdict"`
	Evidence  string    `json:"evidence"` // trigger or construction
	Precision Precision `json:"precision"`
	Trigger   string    `json:"trigger,omitempty"`
	Twin      string    `json:"twin"` // arrived, stopped or none
	Baselines Baselines `json:"baselines"`
}

// Baselines say what became of the trigger without the proxy: arrived, stopped,
// or none where nothing was sent.
type Baselines struct {
	Forwarding string `json:"forwarding"`
	Conntrack  string `json:"conntrack"`
	Relay      string `json:"relay"`
}

// Failed says whether the trigger of a row that is known well got through.
func (r SelftestRow) Failed() bool { return r.Verdict == Arrived.String() && r.Precision != FromText }

// Words of a row.
const (
	verdictNotCovered  = "not-covered"
	verdictUnpublished = "unpublished"
	wordNone           = "none"
	evidenceTrigger    = "trigger"
	evidenceNone       = "construction"
)

// scene is where the triggers are sent.
type scene uint8

const (
	sceneForwarding scene = iota
	sceneConntrack
	sceneRelay
	sceneProxy
	numScenes
)

var sceneNames = [numScenes]string{"plain forwarding", "forwarding with ct state invalid drop", "a TCP relay on TPROXY", "the proxy"}

// wireSceneNames are those of what is played on a wire: a bridge of the kernel forwards
// there.
var wireSceneNames = map[scene]string{sceneForwarding: "a bridge", sceneProxy: "the proxy on a wire"}

// outcome is what became of a trigger in one scene.
type outcome struct {
	trigger Outcome
	twin    bool // arrived as it should
}

// Configure gives the proxy's configuration for a server with an IPv4 and an IPv6
// address, whose port SelftestPort is open.
type Configure func(server4, server6 netip.Addr) (string, error)

// SelftestOptions say what is tested.
type SelftestOptions struct {
	Program   string // that is started as the proxy
	Configure Configure
	// Web configures the proxy for requests to WebPort; nil: none are sent.
	Web Configure
	// Wire configures the proxy of an inline lab for what no router carries; nil: that
	// is not sent.
	Wire Configure
	// Progress is told of each step: what is sent, and through what.
	Progress func(what, through string)
	// Ready, if not nil, looks at each proxy that is started before anything is sent,
	// and Prove afterwards at it and at what arrived behind it.
	Ready func(context.Context, *Proxy) error
	Prove func(ctx context.Context, p *Proxy, arrived []Frame) error
}

// Selftest sends the triggers of all vulnerabilities through the proxy and
// through what others use in its place, each in a lab of its own.
func Selftest(ctx context.Context, o SelftestOptions) ([]SelftestRow, error) {
	var results [numScenes]map[string]outcome
	for s := range numScenes {
		o.Progress("packets", sceneNames[s])
		r, err := runScene(ctx, s, &o)
		if err != nil {
			return nil, fmt.Errorf("selftest: %s: %w", sceneNames[s], err)
		}
		results[s] = r
	}
	for _, s := range []scene{sceneForwarding, sceneProxy} {
		if o.Wire == nil {
			break
		}
		o.Progress("frames", wireSceneNames[s])
		r, err := runWireScene(ctx, s, &o)
		if err != nil {
			return nil, fmt.Errorf("selftest: %s: %w", wireSceneNames[s], err)
		}
		maps.Copy(results[s], r)
	}
	for s := range numScenes {
		if o.Web == nil {
			break
		}
		o.Progress("requests", sceneNames[s])
		r, err := runWebScene(ctx, s, &o)
		if err != nil {
			return nil, fmt.Errorf("selftest: requests through %s: %w", sceneNames[s], err)
		}
		maps.Copy(results[s], r)
	}
	var rows []SelftestRow
	for _, v := range Vulnerabilities() {
		rows = append(rows, v.row(results))
	}
	return rows, nil
}

// row applies the rules of evidence: a trigger counts only if it arrived under
// plain forwarding, did not through the proxy, and its twin without the fault did.
// Where one sentence is all that was published, ours may be another trigger.
func (v Vulnerability) row(results [numScenes]map[string]outcome) SelftestRow {
	r := SelftestRow{CVE: v.CVE, Family: v.Family, Check: v.Check, Precision: v.Precision, Evidence: evidenceNone, Twin: wordNone,
		Baselines: Baselines{wordNone, wordNone, wordNone}, Trigger: v.trigger}
	ours, played := results[sceneProxy][v.trigger]
	if !played {
		r.Trigger = ""
		if r.Verdict = verdictNotCovered; v.Needs == "?" {
			r.Verdict, r.Check = verdictUnpublished, "-"
		}
		return r
	}
	of := func(s scene) string {
		o, played := results[s][v.trigger]
		switch {
		case !played:
			return wordNone
		case o.trigger == Arrived:
			return Arrived.String()
		}
		return Stopped.String()
	}
	r.Verdict, r.Twin = ours.trigger.String(), Stopped.String()
	if ours.twin {
		r.Twin = Arrived.String()
	}
	r.Baselines = Baselines{of(sceneForwarding), of(sceneConntrack), of(sceneRelay)}
	if v.Precision != FromText && r.Baselines.Forwarding == Arrived.String() && ours.twin && ours.trigger != Arrived {
		r.Evidence = evidenceTrigger
	}
	return r
}

// Networks of senders that are nobody's: what goes to them ends at the client,
// which does not forward, and is seen by its capture.
var (
	senders4 = netip.MustParsePrefix("10.77.1.128/25")
	senders6 = netip.MustParsePrefix("fd77:1::1:0/112")
)

// stage is a scene that is set.
type stage struct {
	ctx      context.Context
	scene    scene
	lab      *Lab
	env      AttackEnv
	sender   *RawSender
	atClient *Capture
	atServer *Capture
	proxy    *Proxy // in its scene
	sent     uint16 // senders used so far
}

func runScene(ctx context.Context, s scene, options *SelftestOptions) (results map[string]outcome, err error) {
	l, err := Up(ctx, Options{Anonymous: true, NoOffloads: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	server, err := l.Server.startStream(ctx, fmt.Sprintf("[::]:%d", SelftestPort), func(c net.Conn) error {
		if err := echoBack(c); !errors.Is(err, unix.ECONNRESET) { // which one of the twins does
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	st := &stage{ctx: ctx, scene: s, lab: l}
	stop, err := st.set(options)
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	// The server ends first: a proxy that goes resets what it has translated.
	defer func() { err = errors.Join(err, server.Close(), stop()) }()
	results = map[string]outcome{}
	for _, t := range triggers() {
		o, err := st.play(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		results[t.name] = o
	}
	if results[isnTrigger], err = st.playISN(); err != nil || st.proxy == nil || options.Prove == nil {
		return results, err
	}
	return results, options.Prove(ctx, st.proxy, st.atServer.Frames())
}

// set prepares the proxy host and opens sender and captures.
func (st *stage) set(options *SelftestOptions) (_ func() error, err error) {
	l := st.lab
	if st.env, err = l.AttackEnv(SelftestPort); err != nil {
		return nil, err
	}
	err = errors.Join(l.Proxy.AddRoute(senders4, l.Client.IPv4), l.Proxy.AddRoute(senders6, l.Client.IPv6),
		// A router that lets source routes through, as many of the time did.
		l.Proxy.Sysctl("net/ipv4/conf/all/accept_source_route", "1"), l.Proxy.Sysctl("net/ipv4/conf/"+ClientInterface+"/accept_source_route", "1"))
	if err != nil {
		return nil, err
	}
	stop := func() error { return nil }
	switch st.scene {
	case sceneConntrack:
		err = Firewall(l.Proxy, CTInvalidDrop)
	case sceneRelay:
		var relay *Relay
		if relay, err = l.Proxy.StartRelay(st.ctx, SelftestPort); err == nil {
			stop = relay.Close
		}
	case sceneProxy:
		if st.proxy, err = options.startProxy(st.ctx, l, options.Configure); err == nil {
			stop = st.proxy.Stop
		}
	}
	if err != nil {
		return nil, err
	}
	if st.sender, err = l.Client.RawSender(EndInterface); err != nil {
		return nil, errors.Join(err, stop())
	}
	if st.atClient, err = l.Client.Capture(CaptureOptions{}); err == nil {
		st.atServer, err = l.Server.Capture(CaptureOptions{})
	}
	if err != nil {
		return nil, errors.Join(err, st.sender.Close(), stop())
	}
	return func() error {
		_, err1 := st.atClient.Stop()
		_, err2 := st.atServer.Stop()
		return errors.Join(err1, err2, st.sender.Close(), stop())
	}, nil
}

// startProxy starts the proxy of a lab, and lets Ready look at it.
func (o *SelftestOptions) startProxy(ctx context.Context, l *Lab, configure Configure) (*Proxy, error) {
	text, err := configure(l.Server.IPv4, l.Server.IPv6)
	if err != nil {
		return nil, err
	}
	p, err := l.Proxy.StartProxy(ctx, o.Program, text)
	if err != nil || o.Ready == nil {
		return p, err
	}
	if err := o.Ready(ctx, p); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// from gives a sender that was not used yet.
func (st *stage) from(v6 bool) triggerEnv {
	st.sent++
	e := triggerEnv{src: senders4.Addr(), dst: st.env.Server4, from: triggerPort, to: SelftestPort, seq: attackSeq}
	if v6 {
		e.src, e.dst = senders6.Addr(), st.env.Server6
	}
	for range st.sent {
		e.src = e.src.Next()
	}
	return e
}

// Ports of senders, above net.ipv4.ip_local_port_range. Those of sentinels
// follow.
const (
	triggerPort  = 61000
	sentinelPort = 62000
	rounds       = 3
)

// play sends a trigger and its twin, from senders of their own.
func (st *stage) play(t trigger) (o outcome, err error) {
	if o.trigger, err = st.send(t, t.packets, t.open, t.fault); err != nil {
		return o, err
	}
	twin, err := st.send(t, t.twin, t.twinOpen, nil)
	o.twin = twin == Rebuilt // something arrived, and the judge finds nothing
	return o, err
}

// send sends packets and says what of them the server saw.
func (st *stage) send(t trigger, build func(triggerEnv) [][]byte, open bool, fault func(gopacket.Packet) bool) (Outcome, error) {
	e := st.from(t.v6)
	if open {
		if err := st.connect(&e, t.answered); err != nil {
			return Stopped, err
		}
	}
	seen := len(st.atServer.Frames())
	var frames [][]byte
	for _, p := range build(e) {
		frames = append(frames, st.env.ethernet(p))
	}
	if err := st.sender.SendAll(frames); err != nil {
		return Stopped, err
	}
	if err := st.settle(e); err != nil {
		return Stopped, err
	}
	var arrived []Frame
	for _, f := range st.atServer.Frames()[seen:] {
		from, ok := source(f.Data)
		if ok && (from == e.src || from == e.dst) && !f.Outgoing && !isSentinel(f.Data) {
			arrived = append(arrived, f)
		}
	}
	return judgeTrigger(arrived, fault), nil
}

// macsLen is the length of a frame's two addresses.
const macsLen = 12

// judgeTrigger lets gopacket say what arrived of a trigger.
func judgeTrigger(arrived []Frame, fault func(gopacket.Packet) bool) Outcome {
	switch {
	case len(arrived) == 0:
		return Stopped
	case len(JudgeFrames(arrived, KindDFID, KindDFIDCount)) > 0:
		return Arrived
	}
	for _, f := range arrived {
		if fault != nil && fault(gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)) {
			return Arrived
		}
	}
	return Rebuilt
}

// settle waits until the proxy has judged what a sender sent before. Packets of the
// same addresses reach the proxy's queues in order, so behind a sentinel that has
// arrived they are in them; SYNs have a queue of their own and may be judged before
// what came earlier, so the queues must be empty as well. A packet is judged at two
// hooks at most: the last of three sentinels one after the other comes behind. Of
// each, a SYN, a datagram and an echo request are sent: the chain may know only some.
func (st *stage) settle(e triggerEnv) error {
	ctx, cancel := context.WithTimeout(st.ctx, patience)
	defer cancel()
	for round := range uint16(rounds) {
		e.from = sentinelPort + round
		for _, p := range slices.Concat(synTwin(e), udpTwin(e), echoTwin(e)) {
			if err := st.sender.Send(st.env.ethernet(p)); err != nil {
				return err
			}
		}
		_, err := st.atServer.Wait(ctx, func(f Frame) bool {
			from, ok := source(f.Data)
			if s, whole := dissect(f.Data); ok && whole && from == e.src && !f.Outgoing {
				mark, marked := s.mark()
				return marked && mark == e.from
			}
			return false
		})
		if err != nil {
			return fmt.Errorf("nothing of %v passes, not even a SYN, a datagram or an echo request: %w", e.src, err)
		}
		if err := st.lab.Proxy.Judged(ctx); err != nil {
			return err
		}
	}
	return nil
}

// patience bounds what is waited for; nothing that works takes so long, on however
// busy a machine.
const patience = time.Minute

func isSentinel(frame []byte) bool {
	s, ok := dissect(frame)
	if !ok {
		return false
	}
	mark, marked := s.mark()
	return marked && mark >= sentinelPort && mark < sentinelPort+rounds
}

// answerLen is the payload that is echoed where a trigger quotes an answer: more
// than the smallest MTU leaves.
const answerLen = 1400

// connect opens a TCP connection from a sender, and with answered lets the server
// send a large segment.
func (st *stage) connect(e *triggerEnv, answered bool) error {
	ctx, cancel := context.WithTimeout(st.ctx, patience)
	defer cancel()
	if err := st.sender.Send(st.env.ethernet(e.ip(protoTCP, e.syn()).bytes())); err != nil {
		return err
	}
	answer, err := st.atClient.Wait(ctx, func(f Frame) bool {
		t := segmentOf(f, e.dst, e.src, e.to, e.from)
		return t != nil && t.SYN && t.ACK
	})
	if err != nil {
		return fmt.Errorf("open a connection: no SYN-ACK: %w", err)
	}
	e.seq, e.ack = attackSeq+1, segmentOf(answer, e.dst, e.src, e.to, e.from).Seq+1
	if err := st.sender.Send(st.env.ethernet(e.tcp(hostileTCP{flags: flagACK}))); err != nil {
		return err
	}
	if st.scene != sceneRelay { // whose connection to the server has another source
		if _, err = st.atServer.Wait(ctx, func(f Frame) bool {
			t := segmentOf(f, e.src, e.dst, e.from, e.to)
			return t != nil && !t.SYN && t.ACK
		}); err != nil {
			return fmt.Errorf("open a connection: the ACK did not arrive: %w", err)
		}
	}
	if !answered {
		return nil
	}
	if err := st.sender.Send(st.env.ethernet(e.tcp(hostileTCP{flags: flagPSH | flagACK, payload: make([]byte, answerLen)}))); err != nil {
		return err
	}
	e.seq += answerLen
	answer, err = st.atClient.Wait(ctx, func(f Frame) bool {
		t := segmentOf(f, e.dst, e.src, e.to, e.from)
		return t != nil && len(t.Payload) > ip6MinMTU
	})
	if err != nil {
		return fmt.Errorf("open a connection: no answer to data: %w", err)
	}
	e.quoted = slices.Clone(answer.Data[macsLen+2:][:ipv4Len+tcpLen])
	return nil
}

// segmentOf reads a frame's TCP segment between two ends; nil for others.
func segmentOf(f Frame, src, dst netip.Addr, from, to uint16) *layers.TCP {
	if a, ok := source(f.Data); !ok || a != src {
		return nil
	}
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
	t, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || t.SrcPort != layers.TCPPort(from) || t.DstPort != layers.TCPPort(to) {
		return nil
	}
	if b, ok := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Dst().Raw()); !ok || b != dst {
		return nil
	}
	return t
}

// playISN compares the initial sequence number that the server chose with the one
// that its client sees: arrived means that they are the same.
func (st *stage) playISN() (o outcome, err error) {
	e := st.from(false)
	if err := st.connect(&e, false); err != nil {
		return o, err
	}
	o.twin = true
	for _, f := range st.atServer.Frames() {
		if t := segmentOf(f, e.dst, e.src, e.to, e.from); t != nil && t.SYN {
			if o.trigger = Rebuilt; t.Seq == e.ack-1 {
				o.trigger = Arrived
			}
		}
	}
	return o, nil
}
