package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Attack is one kind of malformed packet. A plain Linux router without connection
// tracking forwards each of them, so whoever sees none at the server behind a
// proxy knows who stopped it. What such a router drops itself (source routes, IP
// options of a bad length, a wrong IP header checksum, frames shorter or longer than
// their IP length) is not here.
type Attack struct {
	Name string
	// About says in a sentence what the packet is.
	About string
	// Reason is the name of the reason that a proxy is expected to count.
	Reason string
	// Repairable says that in mode repair the packet may arrive, without its fault.
	Repairable bool
	// Protocol is tcp, udp or icmp, for those who protect only some.
	Protocol string
	IPv6     bool

	index  uint16
	build  func(e AttackEnv, mark uint16) [][]byte // IP packets
	defect func(s sighting) bool
}

// AttackEnv says from where to where attacks go. The source addresses belong to
// nobody: no kernel answers in between, and all packets of theirs are attacks.
type AttackEnv struct {
	SrcMAC, DstMAC   [6]byte
	Source4, Server4 netip.Addr
	Source6, Server6 netip.Addr
	// Port of the server.
	Port uint16
	// Mark is the source port of the first attack, the others follow. Above the
	// ephemeral ports, 61000 is free in the lab.
	Mark uint16
}

// attackMark is above net.ipv4.ip_local_port_range.
const attackMark = 61000

// AttackEnv gives the environment for attacks from the client on a port of the
// server.
func (l *Lab) AttackEnv(port uint16) (AttackEnv, error) {
	src, err := l.Client.MAC(EndInterface)
	if err != nil {
		return AttackEnv{}, err
	}
	dst, err := l.NextHopMAC(l.Client)
	if err != nil {
		return AttackEnv{}, err
	}
	return l.attackEnv(port, src, dst), nil
}

// OfflineAttackEnv is AttackEnv for a routed lab that is not there: for packets
// that no network carries.
func OfflineAttackEnv(port uint16) AttackEnv {
	return newLab(Options{NamePrefix: DefaultPrefix}).attackEnv(port, macClient, macClient0)
}

func (l *Lab) attackEnv(port uint16, src, dst net.HardwareAddr) AttackEnv {
	const stranger = 0x66 // last byte of an address that no host of the lab has
	source4, source6 := l.Client.IPv4.As4(), l.Client.IPv6.As16()
	source4[3], source6[15] = stranger, stranger
	return AttackEnv{
		SrcMAC: [6]byte(src), DstMAC: [6]byte(dst),
		Source4: netip.AddrFrom4(source4), Server4: l.Server.IPv4,
		Source6: netip.AddrFrom16(source6), Server6: l.Server.IPv6,
		Port: port, Mark: attackMark,
	}
}

// Afresh is the same environment with ports that no attack has come from. The
// server may still answer connections that earlier attacks began, and what the
// proxy sends it about those must not be taken for the new ones.
func (e AttackEnv) Afresh() AttackEnv {
	e.Mark += uint16(len(Attacks()))
	return e
}

// Frames builds the attack's frames, in the order in which they are sent.
func (a Attack) Frames(e AttackEnv) [][]byte {
	packets := a.build(e, e.Mark+a.index)
	for i, p := range packets {
		packets[i] = e.ethernet(p)
	}
	return packets
}

// Outcome is what became of an attack.
type Outcome uint8

// The outcomes, from good to bad.
const (
	// Stopped: nothing of it was seen.
	Stopped Outcome = iota
	// Rebuilt: packets of it were seen, and none has the fault.
	Rebuilt
	// Arrived: a packet with the fault was seen.
	Arrived
)

var outcomeNames = [...]string{"stopped", "rebuilt", "arrived"}

// String names the outcome.
func (o Outcome) String() string { return outcomeNames[o] }

// Seen says what one frame shows of the attack. It finds the attack's frames by
// their mark, whatever their addresses have become on the way.
func (a Attack) Seen(e AttackEnv, frame []byte) Outcome {
	s, ok := dissect(frame)
	if !ok {
		return Stopped
	}
	if mark, ok := s.mark(); !ok || mark != e.Mark+a.index {
		return Stopped
	}
	if a.defect(s) {
		return Arrived
	}
	return Rebuilt
}

// Outcome says what the frames captured at the server show of the attack.
// Frames that the server sends are not looked at.
func (a Attack) Outcome(e AttackEnv, captured []Frame) (o Outcome) {
	for _, f := range captured {
		if !f.Outgoing {
			o = max(o, a.Seen(e, f.Data))
		}
	}
	return o
}

// Await waits until a capture at the server has seen the attack arrive or, where
// that is what is expected of it, rebuilt. What is to be stopped it does not wait
// for: that a reason was counted tells when that was judged.
func (a Attack) Await(ctx context.Context, e AttackEnv, c *Capture, expected Outcome) error {
	if expected == Stopped {
		return nil
	}
	_, err := c.Wait(ctx, func(f Frame) bool { return !f.Outgoing && a.Seen(e, f.Data) >= expected })
	if err != nil {
		return fmt.Errorf("attack %s: %w", a.Name, err)
	}
	return nil
}

// AttackByName finds an attack.
func AttackByName(name string) (Attack, error) {
	for _, a := range Attacks() {
		if a.Name == name {
			return a, nil
		}
	}
	return Attack{}, fmt.Errorf("lab: attack %q: there is none of that name", name)
}
