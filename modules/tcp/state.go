package tcp

import "github.com/promethos/promethos/packet"

// State is how far one side of a connection has come, judged by the segments it
// sent. We stand between the peers: a segment we saw may still be lost behind
// us, and segments may reach us out of order or twice.
type State uint8

// The states of a side. Invalid is the zero value, so a cell that is left out of
// a table never means "stay".
const (
	Invalid     State = iota
	Silent            // has sent nothing
	SynSent           // SYN
	SynReceived       // SYN and ACK
	Established       // the handshake's end, data
	FinSent           // FIN
	Reset             // RST
	numStates
)

var stateNames = [numStates]string{"INVALID", "SILENT", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-SENT", "RESET"}

// String gives the state in the standard's spelling where it has one.
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return "INVALID"
}

// event is what a segment means for its sender's state.
type event uint8

const (
	evSyn event = iota
	evSynAck
	evAck // an acknowledgement, with or without data
	evFin
	evRst
	numEvents
)

// classify gives the event of a segment whose flags are a valid combination.
func classify(f packet.TCPFlags) event {
	switch {
	case f&packet.RST != 0:
		return evRst
	case f&packet.SYN != 0 && f&packet.ACK != 0:
		return evSynAck
	case f&packet.SYN != 0:
		return evSyn
	case f&packet.FIN != 0:
		return evFin
	}
	return evAck
}

// cell is one row of the transition table: in these states of the peer the
// sender comes to next.
type cell struct {
	peers []State
	next  State
}

var (
	anyPeer  = []State{Silent, SynSent, SynReceived, Established, FinSent, Reset}
	openPeer = []State{SynReceived, Established, FinSent, Reset}
)

// rows is the transition table: event → sender's state → peer's state → next
// state of the sender (RFC 9293 §3.3.2, figure 5, seen from the middle).
var rows = [numEvents][numStates][]cell{
	evSyn: {
		Silent:      {{[]State{Silent, SynSent}, SynSent}}, // the latter: simultaneous open
		SynSent:     {{[]State{Silent, SynSent, SynReceived}, SynSent}},
		SynReceived: {{[]State{SynSent, SynReceived}, SynReceived}}, // retransmitted in a simultaneous open
	},
	evSynAck: {
		Silent:      {{[]State{SynSent}, SynReceived}},
		SynSent:     {{[]State{SynSent, SynReceived}, SynReceived}},
		SynReceived: {{[]State{SynSent, SynReceived, Established, FinSent}, SynReceived}},
		Established: {{[]State{SynReceived, Established, FinSent}, Established}}, // late: the handshake's ACK was lost
	},
	evAck: {
		Silent:      {{[]State{SynSent}, Silent}}, // about an earlier connection
		SynSent:     {{openPeer, Established}},
		SynReceived: {{[]State{SynSent}, SynReceived}, {openPeer, Established}},
		Established: {{anyPeer[1:], Established}},
		FinSent:     {{openPeer, FinSent}},
		// The RST was not for this connection after all, or not believed.
		Reset: {{openPeer, Established}},
	},
	evFin: {
		SynSent:     {{openPeer, FinSent}},
		SynReceived: {{[]State{SynSent}, SynReceived}, {openPeer, FinSent}},
		Established: {{anyPeer[1:], FinSent}},
		FinSent:     {{openPeer, FinSent}},
		Reset:       {{openPeer, FinSent}},
	},
	evRst: {
		Silent:      {{[]State{SynSent}, Reset}}, // a refused connection
		SynSent:     {{anyPeer, Reset}},
		SynReceived: {{anyPeer, Reset}},
		Established: {{anyPeer, Reset}},
		FinSent:     {{anyPeer, Reset}},
		Reset:       {{anyPeer, Reset}},
	},
}

// transitions is rows, expanded for one lookup per segment.
var transitions = expand()

func expand() (t [numEvents][numStates][numStates]State) {
	for ev := range rows {
		for own := range rows[ev] {
			for _, c := range rows[ev][own] {
				for _, peer := range c.peers {
					t[ev][own][peer] = c.next
				}
			}
		}
	}
	return t
}

// next looks a transition up; Invalid: the segment does not fit. oneWay is for
// a half instance, which never sees what the peer sends: its state counts as
// whatever makes sense of the sender.
func next(ev event, own, peer State, oneWay bool) State {
	if !oneWay {
		return transitions[ev][own][peer]
	}
	switch {
	case ev == evSyn && own == Silent:
		return SynSent
	case own == Silent:
		return Invalid
	}
	return transitions[ev][own][Established]
}

// phase is how far a connection has come as a whole; it names it and chooses
// its timeout.
type phase uint8

const (
	phaseSynSent phase = iota
	phaseSynReceived
	phaseEstablished
	phaseFinWait   // the side that opened has closed
	phaseCloseWait // the other side has closed
	phaseTimeWait  // both have
	phaseClosed    // reset
	numPhases
)

var phaseNames = [numPhases]string{"SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT", "CLOSE-WAIT", "TIME-WAIT", "CLOSED"}

// String gives the standard's word that fits best.
func (p phase) String() string { return phaseNames[p] }

// halfOpen says that the handshake is not complete.
func (p phase) halfOpen() bool { return p == phaseSynSent || p == phaseSynReceived }

// over says that both sides have closed, or one has reset.
func (p phase) over() bool { return p == phaseTimeWait || p == phaseClosed }

// phaseOf judges by both sides; opener is the side that opened the connection.
func phaseOf(opener, other State) phase {
	switch {
	case opener == Reset || other == Reset:
		return phaseClosed
	case opener == FinSent && other == FinSent:
		return phaseTimeWait
	case opener == FinSent:
		return phaseFinWait
	case other == FinSent:
		return phaseCloseWait
	case opener == Established || other == Established:
		return phaseEstablished
	case other == Silent:
		return phaseSynSent
	}
	return phaseSynReceived
}
