package kit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// Scenario is a file in trace notation; docs/writing-a-module.md describes it.
type Scenario struct {
	Name     string
	Chain    []string
	Settings map[string]ppf.Value
	Port     uint16 // the server's
	Strict   bool
	Kind     Kind
	Steps    []Step
}

// Kind is what the steps of a scenario send.
type Kind uint8

// The kinds. The zero value is for packets.
const (
	KindPackets Kind = iota
	KindStream
	KindHTTP
)

// Step is one packet, part of a stream or message and what is expected of it, or a
// time that passes.
type Step struct {
	Line int
	Kind Kind
	Wait time.Duration // instead of a packet
	Dir  ppf.Dir
	Data []byte // a packet from the IP header on, bytes of a stream, a whole message
	End  bool   // of a stream's flow, in place of data
	// Want is "accept", "drop" or "" for no matter.
	Want   string
	Reason string // of a drop, or of a repair
	// Reply is what comes back to the sender of a stream's bytes; nil for nothing.
	Reply []byte
	// Extra are the payloads of the packets that are sent besides; nil for no matter.
	Extra [][]byte
	// Texts are, put together, the payload or the bytes that are sent on, and of a
	// message what has to be in it; nil for no matter.
	Texts [][]byte
}

// The ends of scenarios.
var (
	clientAddr = netip.MustParseAddr("192.0.2.1")
	serverAddr = netip.MustParseAddr("203.0.113.1")
)

const clientPort = 40000

// ParseTrace reads a scenario; errors name line and what belongs there.
func ParseTrace(name, text string) (*Scenario, error) {
	s := &Scenario{Name: name, Settings: map[string]ppf.Value{}, Port: 80}
	for i, line := range strings.Split(text, "\n") {
		words, err := split(line)
		if err == nil && len(words) > 0 {
			err = s.line(i+1, words)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	if len(s.Chain) == 0 {
		return nil, fmt.Errorf("%s: no chain is named (write `chain FUNCTION …`)", name)
	}
	return s, nil
}

// word is a word of a line; quoted ones and those in hexadecimal are bytes.
type word struct {
	text  string
	bytes bool
}

// split cuts a line into words, "text" with Go's escapes, x0102 and {JSON}.
func split(line string) (words []word, err error) {
	for {
		line = strings.TrimLeft(line, " \t\r")
		switch {
		case line == "" || line[0] == '#':
			return words, nil
		case line[0] == '{':
			return append(words, word{text: line}), nil
		case line[0] == '"':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("%s: the text does not end", line)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			words, line = append(words, word{text, true}), line[len(quoted):]
			continue
		}
		end := strings.IndexAny(line+" ", " \t\r")
		w := line[:end]
		line = line[end:]
		if b, err := hex.DecodeString(strings.TrimPrefix(w, "x")); err == nil && w[0] == 'x' && len(b) > 0 {
			words = append(words, word{string(b), true})
			continue
		}
		words = append(words, word{text: w})
	}
}

func (s *Scenario) line(n int, words []word) error {
	rest := words[1:]
	switch words[0].text {
	case "chain":
		for _, w := range rest {
			s.Chain = append(s.Chain, w.text)
		}
	case "strict":
		s.Strict = true
	case "port":
		if len(rest) != 1 {
			return fmt.Errorf("write `port NUMBER`")
		}
		p, err := strconv.ParseUint(rest[0].text, 10, 16)
		s.Port = uint16(p)
		return err
	case "settings":
		if len(rest) != 2 {
			return fmt.Errorf("write `settings FUNCTION {JSON}`")
		}
		v, err := jsonValue(rest[1].text)
		s.Settings[rest[0].text] = v
		return err
	case "wait":
		if len(rest) != 1 {
			return fmt.Errorf("write `wait DURATION`")
		}
		d, err := time.ParseDuration(rest[0].text)
		s.Steps = append(s.Steps, Step{Line: n, Wait: d})
		return err
	case ">", "<":
		step := Step{Line: n}
		if words[0].text == "<" {
			step.Dir = ppf.ServerToClient
		}
		if err := s.send(&step, rest); err != nil {
			return err
		}
		s.Steps = append(s.Steps, step)
	case "=":
		if len(s.Steps) == 0 || len(rest) == 0 {
			return fmt.Errorf("what is expected follows a step: `= accept [REASON] [PAYLOAD]`, `= drop REASON`, `= reply BYTES` or `= extra PAYLOAD`")
		}
		return s.Steps[len(s.Steps)-1].expect(rest)
	default:
		return fmt.Errorf("%q is unknown (chain, settings, port, strict, wait, > < and =)", words[0].text)
	}
	return nil
}

// expect reads what follows =.
func (s *Step) expect(words []word) error {
	what := words[0].text
	if what == "reply" || what == "extra" {
		var b []byte
		for _, w := range words[1:] {
			if !w.bytes {
				return fmt.Errorf("%q: write `= %s BYTES`", w.text, what)
			}
			b = append(b, w.text...)
		}
		if len(b) == 0 {
			return fmt.Errorf("write `= %s BYTES`", what)
		}
		if what == "reply" {
			s.Reply = append(s.Reply, b...)
		} else {
			s.Extra = append(s.Extra, b)
		}
		return nil
	}
	if s.Wait > 0 {
		return fmt.Errorf("behind a wait stands `= reply BYTES` or `= extra PAYLOAD`")
	}
	s.Want = what
	if s.Want != "accept" && s.Want != "drop" {
		return fmt.Errorf("%q is unknown (accept, drop, reply or extra)", what)
	}
	for _, w := range words[1:] {
		switch {
		case w.bytes:
			s.Texts = append(s.Texts, []byte(w.text))
		case s.Reason == "":
			s.Reason = w.text
		default:
			return fmt.Errorf("%q: one reason can be expected", w.text)
		}
	}
	if s.Want == "drop" && s.Reason == "" {
		return fmt.Errorf("a drop has a reason")
	}
	return nil
}

// send reads what stands behind an arrow.
func (s *Scenario) send(step *Step, words []word) (err error) {
	if len(words) == 0 {
		return fmt.Errorf("write udp, tcp, stream, end or http behind the arrow")
	}
	switch words[0].text {
	case "stream", "end":
		step.Kind, step.End = KindStream, words[0].text == "end"
		for _, w := range words[1:] {
			if !w.bytes || step.End {
				return fmt.Errorf("%q: write `stream BYTES` or `end`", w.text)
			}
			step.Data = append(step.Data, w.text...)
		}
		if !step.End && len(step.Data) == 0 {
			return fmt.Errorf("write `stream BYTES`")
		}
	case "http":
		step.Kind = KindHTTP
		step.Data, err = message(words[1:])
	default:
		step.Data, err = s.packet(step.Dir, words)
	}
	if err != nil {
		return err
	}
	for i := range s.Steps {
		if have := &s.Steps[i]; have.Wait == 0 && have.Kind != step.Kind {
			return fmt.Errorf("packets, streams and messages need scenarios of their own")
		}
	}
	if step.Kind == KindHTTP && step.Dir == ppf.ServerToClient && (len(s.Steps) == 0 || s.Steps[len(s.Steps)-1].Dir != ppf.ClientToServer) {
		return fmt.Errorf("an answer follows its request")
	}
	s.Kind = step.Kind
	return nil
}

// message puts lines together, and behind an empty one a body, whose length is
// written where no line frames it.
func message(words []word) ([]byte, error) {
	var lines []string
	var body strings.Builder
	behind, framed := false, false
	for _, w := range words {
		switch {
		case !w.bytes:
			return nil, fmt.Errorf("%q: write `http \"LINE\" … \"\" \"BODY\"`", w.text)
		case behind:
			body.WriteString(w.text)
		case w.text == "":
			behind = true
		default:
			name, _, _ := strings.Cut(strings.ToLower(w.text), ":")
			framed = framed || name == "content-length" || name == "transfer-encoding"
			lines = append(lines, w.text)
		}
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("write `http \"LINE\" … \"\" \"BODY\"`")
	}
	if !framed && (body.Len() > 0 || strings.HasPrefix(lines[0], "HTTP/")) {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", body.Len()))
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n" + body.String()), nil
}

var flagNames = map[string]packet.TCPFlags{
	"FIN": packet.FIN, "SYN": packet.SYN, "RST": packet.RST, "PSH": packet.PSH, "ACK": packet.ACK, "ECE": packet.ECE, "CWR": packet.CWR,
}

// packet builds what follows > or <: `udp PAYLOAD`, or `tcp FLAGS seq=N ack=N
// win=N mss=N PAYLOAD`.
func (s *Scenario) packet(d ppf.Dir, words []word) ([]byte, error) {
	src, dst := netip.AddrPortFrom(clientAddr, clientPort), netip.AddrPortFrom(serverAddr, s.Port)
	if d == ppf.ServerToClient {
		src, dst = dst, src
	}
	var out packet.Out
	out.SetIPv4(packet.IPv4{TTL: 64, DF: true, Src: src.Addr(), Dst: dst.Addr()})
	tcp := packet.TCP{SrcPort: src.Port(), DstPort: dst.Port(), Window: 65535}
	payload := []byte{}
	for _, w := range words[1:] {
		if w.bytes {
			payload = append(payload, w.text...)
			continue
		}
		if err := tcpWord(&tcp, w.text); err != nil {
			return nil, err
		}
	}
	switch words[0].text {
	case "udp":
		out.SetUDP(packet.UDP{SrcPort: src.Port(), DstPort: dst.Port()})
	case "tcp":
		out.SetTCP(tcp)
	default:
		return nil, fmt.Errorf("%q is unknown (udp, tcp, stream, end or http)", words[0].text)
	}
	out.SetPayload(payload)
	head, err := out.Encode(make([]byte, packet.MaxHeaders))
	return append(head, payload...), err
}

func tcpWord(tcp *packet.TCP, text string) error {
	key, value, has := strings.Cut(text, "=")
	if !has {
		for name := range strings.SplitSeq(text, ",") {
			flag, ok := flagNames[name]
			if !ok {
				return fmt.Errorf("%q is no TCP flag", name)
			}
			tcp.Flags |= flag
		}
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a number", text)
	}
	switch key {
	case "seq":
		tcp.Seq = packet.Seq(n)
	case "ack":
		tcp.Ack = packet.Seq(n)
	case "win":
		tcp.Window = uint16(n)
	case "mss":
		tcp.Options.Has, tcp.Options.MSS = tcp.Options.Has|packet.OptMSS, uint16(n)
	default:
		return fmt.Errorf("%q is unknown (seq, ack, win, mss)", key)
	}
	return nil
}

// jsonValue turns JSON into a configuration value.
func jsonValue(text string) (ppf.Value, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return ppf.Value{}, err
	}
	return toValue(v), nil
}

func toValue(v any) ppf.Value {
	switch v := v.(type) {
	case map[string]any:
		out := ppf.Value{Kind: ppf.ValueMap}
		for key, item := range v {
			out.Map = append(out.Map, ppf.KeyValue{Key: key, Value: toValue(item)})
		}
		return out
	case []any:
		out := ppf.Value{Kind: ppf.ValueList}
		for _, item := range v {
			out.List = append(out.List, toValue(item))
		}
		return out
	case nil:
		return ppf.Value{}
	}
	return ppf.Value{Kind: ppf.ValueScalar, Scalar: fmt.Sprint(v)}
}
