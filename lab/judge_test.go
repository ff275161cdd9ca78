package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/promethos/promethos/packet"
)

// plain4 is a packet without fault: a SYN with a common set of options.
func plain4(change func(ip *hostileIP, s *hostileTCP)) []byte {
	env := testEnv()
	ip := hostileIP{src: env.Source4, dst: env.Server4, proto: protoTCP, fragment: ip4DF}
	s := hostileTCP{srcPort: 40000, dstPort: 80, flags: flagSYN,
		options: slices.Concat(validMSS, []byte{4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7})}
	if change != nil {
		change(&ip, &s)
	}
	if ip.payload == nil {
		ip.payload = s.bytes(ip.src, ip.dst)
	}
	return env.ethernet(ip.bytes())
}

func plain6(change func(ip *hostileIP, s *hostileTCP)) []byte {
	env := testEnv()
	return plain4(func(ip *hostileIP, s *hostileTCP) {
		ip.src, ip.dst = env.Source6, env.Server6
		if change != nil {
			change(ip, s)
		}
	})
}

func udp(d hostileUDP) func(ip *hostileIP, s *hostileTCP) {
	return func(ip *hostileIP, s *hostileTCP) {
		d.srcPort, d.dstPort, d.payload = 40000, 9999, []byte("data")
		ip.proto, ip.payload = protoUDP, d.bytes(ip.src, ip.dst)
	}
}

// tagged puts a VLAN tag in front of what a frame carries.
func tagged(frame []byte, tpid uint16) []byte {
	return slices.Concat(frame[:macsLen], binary.BigEndian.AppendUint16(nil, tpid), []byte{0, 7}, frame[macsLen:])
}

// arp is a request that asks for the server.
func arp() []byte {
	env := testEnv()
	head := []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}
	return slices.Concat(env.DstMAC[:], env.SrcMAC[:], head, env.SrcMAC[:], env.Source4.AsSlice(), make([]byte, 6), env.Server4.AsSlice())
}

// igmp makes a membership report with a router alert.
func igmp(ttl byte) func(ip *hostileIP, s *hostileTCP) {
	return func(ip *hostileIP, _ *hostileTCP) {
		b := []byte{0x16, 0, 0, 0, 224, 0, 0, 9}
		binary.BigEndian.PutUint16(b[2:], packet.SumBytes(b).Checksum())
		ip.proto, ip.options, ip.payload, ip.ttl = protoIGMP, []byte{0x94, 4, 0, 0}, b, ttl
	}
}

// mld makes a packet with a router alert: a listener report, or eight bytes of another
// protocol.
func mld(proto, hopLimit byte) func(ip *hostileIP, s *hostileTCP) {
	return func(ip *hostileIP, _ *hostileTCP) {
		ip.proto, ip.first, ip.options, ip.ttl = proto, protoHop, []byte{proto, 0, 5, 2, 0, 0, 1, 0}, hopLimit
		if ip.payload = []byte{0, 1, 0, 2, 0, 8, 0, 0}; proto == protoICMPv6 {
			ip.payload = append([]byte{131, 0, 0, 0, 0, 0, 0, 0}, ip.dst.AsSlice()...)
			sum := pseudoSum(ip.src, ip.dst, proto, len(ip.payload)).Add(packet.SumBytes(ip.payload))
			binary.BigEndian.PutUint16(ip.payload[2:], sum.Checksum())
		}
	}
}

func TestJudgeFindsEachPlantedError(t *testing.T) {
	flags := func(f byte) []byte {
		return plain4(func(_ *hostileIP, s *hostileTCP) { s.flags, s.options = f, nil })
	}
	options := func(b ...byte) []byte {
		return plain4(func(_ *hostileIP, s *hostileTCP) { s.options = b })
	}
	patched := func(frame []byte, at int, b ...byte) []byte {
		copy(frame[at:], b)
		return frame
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  []Kind
	}{
		{"SYN", plain4(nil), nil},
		{"SYN over IPv6", plain6(nil), nil},
		{"options that end with the list's end", options(2, 4, 5, 0xb4, 0, 0, 0, 0), nil},
		{"three SACK blocks and timestamps", options(append([]byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 26}, make([]byte, 24)...)...), nil},
		{"datagram", plain4(udp(hostileUDP{})), nil},
		{"datagram over IPv6", plain6(udp(hostileUDP{})), nil},
		{"padding of a short frame", append(flags(flagACK), make([]byte, 6)...), nil},
		{"no Ethernet header", []byte{1, 2, 3}, []Kind{KindDecode}},
		{"IPv4 header cut", plain4(nil)[:30], []Kind{KindDecode}},
		{"IPv4 longer than its frame", plain4(nil)[:60], []Kind{KindDecode}},
		{"IPv6 longer than its frame", plain6(nil)[:70], []Kind{KindDecode}},
		{"trailing bytes", append(plain4(nil), 1, 2, 3), []Kind{KindTrailing}},
		{"trailing bytes over IPv6", append(plain6(nil), 0), []Kind{KindTrailing}},
		{"padding that is not zero", append(flags(flagACK), 0, 0, 0, 0, 0, 7), []Kind{KindTrailing}},
		{"IPv4 checksum", patched(plain4(nil), 24, 0x12, 0x34), []Kind{KindIPSum, KindCanonical}},
		{"reserved flag", plain4(func(ip *hostileIP, _ *hostileTCP) { ip.fragment |= ip4Evil }), []Kind{KindIPFlags}},
		{"IP option", plain4(func(ip *hostileIP, _ *hostileTCP) { ip.options = []byte{0x9e, 4, 1, 2} }), []Kind{KindIPOptions}},
		{"fragment", plain4(func(ip *hostileIP, _ *hostileTCP) { ip.fragment, ip.id = ip4MF, 7 }), []Kind{KindFragment}},
		{"ID with DF", plain4(func(ip *hostileIP, _ *hostileTCP) { ip.id = 7 }), []Kind{KindDFID}},
		{"ID without DF", plain4(func(ip *hostileIP, _ *hostileTCP) { ip.id, ip.fragment = 7, 0 }), nil},
		{"TCP checksum", plain4(func(_ *hostileIP, s *hostileTCP) { s.wrongSum = true }), []Kind{KindTCPSum, KindCanonical}},
		{"TCP checksum over IPv6", plain6(func(_ *hostileIP, s *hostileTCP) { s.wrongSum = true }), []Kind{KindTCPSum, KindCanonical}},
		{"data offset beyond", plain4(func(_ *hostileIP, s *hostileTCP) { s.offset = 15 }), []Kind{KindDecode}},
		{"data offset below", plain4(func(_ *hostileIP, s *hostileTCP) { s.offset = 4 }), []Kind{KindDecode}},
		{"NULL", flags(0), []Kind{KindTCPFlags}},
		{"XMAS", flags(flagFIN | flagPSH | flagURG), []Kind{KindTCPUrgent, KindTCPFlags}},
		{"SYN and FIN", flags(flagSYN | flagFIN), []Kind{KindTCPFlags}},
		{"SYN and RST", flags(flagSYN | flagRST), []Kind{KindTCPFlags}},
		{"FIN and RST", flags(flagFIN | flagRST | flagACK), []Kind{KindTCPFlags}},
		{"FIN alone", flags(flagFIN), []Kind{KindTCPFlags}},
		{"RST alone", flags(flagRST), nil},
		{"FIN and ACK", flags(flagFIN | flagACK), nil},
		{"urgent pointer", plain4(func(_ *hostileIP, s *hostileTCP) { s.urgent = 1 }), []Kind{KindTCPUrgent}},
		{"NS bit", plain4(func(_ *hostileIP, s *hostileTCP) { s.reserved = 1 }), []Kind{KindTCPBits}},
		{"reserved bit", plain4(func(_ *hostileIP, s *hostileTCP) { s.reserved = 8 }), []Kind{KindTCPBits, KindCanonical}},
		{"option length 0", options(0xff, 0, 0, 0), []Kind{KindTCPOptions}},
		{"option beyond the end", options(0xfd, 20, 0, 0), []Kind{KindTCPOptions}},
		{"option of a wrong length", options(3, 2, 1, 1), []Kind{KindTCPOptions}},
		{"option twice", options(2, 4, 1, 1, 2, 4, 1, 1), []Kind{KindTCPOptions}},
		{"bytes after the list's end", options(0, 0, 0, 9), []Kind{KindTCPOptions, KindCanonical}},
		{"UDP checksum", plain4(udp(hostileUDP{wrongSum: true})), []Kind{KindUDPSum, KindCanonical}},
		{"UDP length above", plain4(udp(hostileUDP{lengthError: 4})), []Kind{KindDecode}},
		{"UDP length below", plain4(udp(hostileUDP{lengthError: -2})), []Kind{KindUDPLength}},
		{"no UDP checksum over IPv6", patched(plain6(udp(hostileUDP{})), 60, 0, 0), []Kind{KindUDPSum}},
		{"ICMP checksum", plain4(func(ip *hostileIP, _ *hostileTCP) { ip.proto, ip.payload = protoICMP, []byte{8, 0, 1, 2, 0, 1, 0, 1} }), []Kind{KindICMPSum, KindCanonical}},
		{"IPv6 destination options", plain6(func(ip *hostileIP, _ *hostileTCP) {
			ip.first, ip.options = protoDstOpts, []byte{protoTCP, 0, 1, 4, 0, 0, 0, 0}
		}), []Kind{KindExtension}},
		{"IPv6 destination options, UDP without checksum behind", plain6(func(ip *hostileIP, _ *hostileTCP) {
			ip.first, ip.options, ip.payload = protoDstOpts, []byte{protoUDP, 0, 1, 4, 0, 0, 0, 0}, []byte{0, 1, 0, 2, 0, 9, 0, 0, 7}
		}), []Kind{KindExtension, KindUDPSum}},
		{"IPv6 bad destination option", plain6(func(ip *hostileIP, _ *hostileTCP) {
			ip.first, ip.options = protoDstOpts, []byte{protoTCP, 0, 1, 200, 0, 0, 0, 0}
		}), []Kind{KindExtension, KindDecode}},
		{"IPv6 routing header", plain6(func(ip *hostileIP, _ *hostileTCP) {
			ip.first, ip.options = protoRouting, []byte{protoTCP, 0, 0, 0, 0, 0, 0, 0}
		}), []Kind{KindExtension}},
		{"IPv6 hop-by-hop options", plain6(func(ip *hostileIP, _ *hostileTCP) { ip.first, ip.options = 0, []byte{protoTCP, 0, 1, 4, 0, 0, 0, 0} }), []Kind{KindExtension}},
		{"in a VLAN", tagged(plain4(nil), 0x8100), nil},
		{"in a VLAN of a VLAN", tagged(tagged(plain4(nil), 0x8100), 0x88a8), nil},
		{"in a VLAN, TCP checksum", tagged(plain4(func(_ *hostileIP, s *hostileTCP) { s.wrongSum = true }), 0x8100), []Kind{KindTCPSum, KindCanonical}},
		{"VLAN tag cut", tagged(plain4(nil), 0x8100)[:16], []Kind{KindDecode}},
		{"ARP", arp(), nil},
		{"ARP with trailing bytes", append(arp(), bytes.Repeat([]byte{7}, 30)...), []Kind{KindTrailing}},
		{"ARP cut", arp()[:30], []Kind{KindDecode}},
		{"IGMP with router alert", plain4(igmp(1)), nil},
		{"IGMP with router alert from afar", plain4(igmp(2)), []Kind{KindIPOptions}},
		{"TCP with TTL 1 and an option", plain4(func(ip *hostileIP, _ *hostileTCP) { ip.options, ip.ttl = []byte{0x94, 4, 0, 0}, 1 }), []Kind{KindIPOptions}},
		{"MLD with router alert", plain6(mld(protoICMPv6, 1)), nil},
		{"MLD with router alert from afar", plain6(mld(protoICMPv6, 64)), []Kind{KindExtension}},
		{"UDP with router alert", plain6(mld(protoUDP, 1)), []Kind{KindExtension, KindUDPSum}},
		{"ICMPv6 checksum", plain6(func(ip *hostileIP, _ *hostileTCP) {
			ip.proto, ip.payload = protoICMPv6, []byte{128, 0, 1, 2, 0, 1, 0, 1}
		}), []Kind{KindICMPSum, KindCanonical}},
		{"IPv6 fragment", plain6(func(ip *hostileIP, _ *hostileTCP) {
			ip.first, ip.options = protoFragment, fragmentHeader(protoTCP, 0, true, 1)
		}), []Kind{KindFragment}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// What is wrong with one frame is no fault of the next.
			findings := JudgeFrames([]Frame{{Data: plain4(nil)}, {Data: tt.frame}, {Data: plain4(nil)}})
			var got []Kind
			for _, f := range findings {
				if got = append(got, f.Kind); f.Frame != 2 || f.Detail == "" {
					t.Errorf("finding %v: want it in frame 2, with a detail", f)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("JudgeFrames(%x): got %v, want %v", tt.frame, findings, tt.want)
			}
			if left := JudgeFrames([]Frame{{Data: tt.frame}}, tt.want...); len(left) != 0 {
				t.Errorf("JudgeFrames ignoring %v: got %v", tt.want, left)
			}
		})
	}
}

func TestJudgeCountsSegments(t *testing.T) {
	var frames []Frame
	for _, id := range []uint16{0, 1, 2, 0, 1, 3, 4} {
		frames = append(frames, Frame{Data: plain4(func(ip *hostileIP, _ *hostileTCP) { ip.id = id })})
	}
	var got []Kind
	for _, f := range JudgeFrames(frames) {
		got = append(got, f.Kind)
	}
	if want := []Kind{KindDFIDCount, KindDFIDCount, KindDFIDCount, KindDFID, KindDFID}; !slices.Equal(got, want) {
		t.Errorf("IDs 0 1 2 0 1 3 4: got %v, want %v", got, want)
	}
}

func TestJudgeLeavesPendingChecksums(t *testing.T) {
	frame := Frame{ChecksumPending: true, Data: plain4(func(_ *hostileIP, s *hostileTCP) { s.wrongSum = true })}
	if got := JudgeFrames([]Frame{frame}); len(got) != 0 {
		t.Errorf("pending checksum: got %v, want nothing", got)
	}
}

// TestJudgeKnowsAllAttacks: whatever gets through must be found.
func TestJudgeKnowsAllAttacks(t *testing.T) {
	env := testEnv()
	for _, a := range Attacks() {
		if a.Reason == "tcp.midstream" {
			continue // each packet by itself is innocent
		}
		var frames []Frame
		for _, f := range a.Frames(env) {
			frames = append(frames, Frame{Data: f})
		}
		if got := JudgeFrames(frames, KindDFID, KindCanonical); len(got) == 0 {
			t.Errorf("%s: JudgeFrames found nothing in %x", a.Name, frames[0].Data)
		}
	}
}

// realTraffic captures at the server what plain hosts send each other.
func realTraffic(t *testing.T) []Frame {
	l := up(t, Options{NoOffloads: true})
	capture, err := l.Server.Capture(CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp4", "tcp6"} {
		s, err := l.Server.StartHTTP(t.Context(), net.JoinHostPort(l.Server.Addr(network).String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Client.Download(t.Context(), s.DataURL(1<<20, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Client.Upload(t.Context(), s.UploadURL(), 1<<20, 1); err != nil {
			t.Fatal(err)
		}
		if curl, err := exec.LookPath("curl"); err == nil {
			if out, err := l.Client.Command(t.Context(), curl, "--silent", "--show-error", "--fail", "--output", os.DevNull, s.DataURL(1<<20, 2)).CombinedOutput(); err != nil {
				t.Errorf("curl: %v: %s", err, out)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Client.Ping(t.Context(), l.Server.Addr(network), EchoOptions{}); err != nil {
			t.Error(err)
		}
		udp, err := l.Server.StartUDPEcho(t.Context(), net.JoinHostPort(l.Server.Addr(network).String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Client.UDPEcho(t.Context(), udp.Addr, EchoOptions{Count: 2}); err != nil {
			t.Error(err)
		}
		if err := udp.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Client.Dial(t.Context(), network, udp.Addr); err == nil { // a RST
			t.Error("Dial to a closed port: got a connection")
		}
	}
	if _, err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	return capture.Frames()
}

func TestJudgesFindNothingInRealTraffic(t *testing.T) {
	frames := realTraffic(t)
	path := filepath.Join(t.TempDir(), "real.pcapng")
	var file bytes.Buffer
	if err := WriteCapture(&file, frames); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	// Linux numbers packets with DF; a proxy's are 0.
	findings, err := JudgeFile(path, KindDFID, KindDFIDCount)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("JudgeFile: %v in %x", f, head(frames[f.Frame-1].Data[14:]))
	}
	if len(frames) < 1000 {
		t.Errorf("only %d frames", len(frames))
	}
	findings, err = TsharkJudge(t.Context(), path)
	if errors.Is(err, ErrNoTshark) {
		t.Skip("needs tshark for the second judge")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("TsharkJudge: %v", f)
	}
}

func TestTsharkJudge(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark")
	}
	longUDP := plain4(udp(hostileUDP{lengthError: 40}))
	badSum4 := plain4(nil)
	binary.BigEndian.PutUint16(badSum4[24:], ^packet.SumBytes(badSum4[14:24]).Checksum())
	frames := []Frame{
		{Data: plain4(nil)},
		{Data: plain4(func(_ *hostileIP, s *hostileTCP) { s.wrongSum = true })},
		{Data: plain6(nil)},
		{Data: plain4(udp(hostileUDP{wrongSum: true}))},
		{Data: longUDP},
		{Data: plain4(func(_ *hostileIP, s *hostileTCP) { s.options = []byte{3, 2, 1, 1} })},
		{Data: badSum4},
		{Data: plain4(func(_ *hostileIP, s *hostileTCP) { s.offset = 4 })},
		{Data: plain4(udp(hostileUDP{}))},
	}
	path := filepath.Join(t.TempDir(), "planted.pcapng")
	var file bytes.Buffer
	if err := WriteCapture(&file, frames); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	findings, err := TsharkJudge(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, f := range findings {
		got = append(got, f.Frame)
	}
	if want := []int{2, 4, 5, 6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("TsharkJudge: findings in frames %v, want %v:\n%v", got, want, findings)
	}
}
