package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/lab"
)

// signatures are the ways in which kernels sign segments: sign lets a socket's kernel
// sign what goes to a peer, and take nothing from it that is not signed.
var signatures = []struct {
	name   string
	option layers.TCPOptionKind
	sign   func(t *testing.T, fd int, peer netip.Addr)
}{{"MD5", 19, signMD5}, {"TCP-AO", 29, signAO}}

// signMD5 signs by RFC 2385.
func signMD5(t *testing.T, fd int, peer netip.Addr) {
	t.Helper()
	sig := unix.TCPMD5Sig{Keylen: 6}
	copy(sig.Key[:], "secret")
	sig.Addr.Family = unix.AF_INET
	// struct sockaddr_in: family, port, address.
	address := peer.As4()
	copy(sig.Addr.Data[2:], address[:])
	err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("the kernel does not sign: CONFIG_TCP_MD5SIG is missing")
	}
	check(t, err)
}

// tcpAOAddKey is TCP_AO_ADD_KEY, tcpAOAdd struct tcp_ao_add (include/uapi/linux/tcp.h,
// since Linux 6.7).
const tcpAOAddKey = 38

type tcpAOAdd struct {
	addr      unix.RawSockaddrInet4
	_         [112]byte // of struct sockaddr_storage
	algorithm [64]byte
	_         [10]byte // no interface, no flags
	prefix    uint8
	sendID    uint8
	receiveID uint8
	macLen    uint8
	_         uint8
	keyLen    uint8
	key       [80]byte
}

// signAO signs by RFC 5925, with the algorithm of RFC 5926 §3.1.1.
func signAO(t *testing.T, fd int, peer netip.Addr) {
	t.Helper()
	add := tcpAOAdd{addr: unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: peer.As4()}, prefix: 32, sendID: 1, receiveID: 1, macLen: 12}
	copy(add.algorithm[:], "hmac(sha1)")
	add.keyLen = uint8(copy(add.key[:], "secret"))
	b := unsafe.String((*byte)(unsafe.Pointer(&add)), unsafe.Sizeof(add))
	err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, tcpAOAddKey, b)
	if errors.Is(err, unix.ENOPROTOOPT) {
		t.Skip("the kernel does not sign: CONFIG_TCP_AO is missing, or it is older than 6.7")
	}
	check(t, err)
}

// TestSigned: two kernels that sign talk through a chain that carries signed segments,
// and what arrives is built anew: their receiver has verified each.
func TestSigned(t *testing.T) {
	for _, s := range signatures {
		t.Run(s.name, func(t *testing.T) { signed(t, s.option, s.sign) })
	}
}

// signed is TestSigned for a kind of signature.
func signed(t *testing.T, option layers.TCPOptionKind, sign func(*testing.T, int, netip.Addr)) {
	const volume = 3_000_000
	l := up(t, lab.Options{})
	server := socket(t, l.Server)
	sign(t, server, l.Client.IPv4)
	check(t, unix.Bind(server, &unix.SockaddrInet4{}))
	check(t, unix.Listen(server, 16))
	p := must(unix.Getsockname(server))(t).(*unix.SockaddrInet4).Port
	for _, carried := range []bool{true, false} {
		t.Run(fmt.Sprintf("carried %v", carried), func(t *testing.T) {
			more := "    handshake: cookie\n    modules: {tcp: {cookie_from: 0}}\n"
			if carried {
				more = "    handshake: cookie\n    modules: {tcp: {cookie_from: 0, signed: carry}}\n"
			}
			d := withServer(t, l, "forward", uint16(p), more)
			capture := must(l.Server.Capture(lab.CaptureOptions{}))(t)
			client := socket(t, l.Client)
			sign(t, client, l.Server.IPv4)
			target := &unix.SockaddrInet4{Port: p, Addr: l.Server.IPv4.As4()}
			if !carried {
				check(t, unix.SetNonblock(client, true))
				if err := unix.Connect(client, target); !errors.Is(err, unix.EINPROGRESS) {
					t.Errorf("connect: %v", err)
				}
				eventually(t, "the SYN refused", func() (bool, string) {
					return d.counted(t, "tcp.option.authentication") > 0, fmt.Sprint(d.reasons(t))
				})
				return
			}
			check(t, unix.Connect(client, target))
			conn, err := again(func() (int, error) {
				fd, _, err := unix.Accept(server)
				return fd, err
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { check(t, unix.Close(conn)) })
			data := bytes.Repeat([]byte("signed "), volume/7)
			wrote := make(chan error, 1)
			go func() { wrote <- writeAll(client, data) }()
			got := make([]byte, len(data))
			for n := 0; n < len(got); {
				m, err := again(func() (int, error) { return unix.Read(conn, got[n:]) })
				if err != nil || m == 0 {
					t.Fatalf("after %d of %d bytes: %d, %v; %v", n, len(got), m, err, d.reasons(t))
				}
				n += m
			}
			check(t, <-wrote)
			if !bytes.Equal(got, data) {
				t.Error("other data arrived")
			}
			check(t, writeAll(conn, []byte("answer")))
			n, err := again(func() (int, error) { return unix.Read(client, got) })
			if err != nil || string(got[:n]) != "answer" {
				t.Errorf("the client got %q, %v", got[:max(n, 0)], err)
			}
			must(capture.Stop())(t)
			if n := signedSegments(capture.Frames(), option); n < 100 {
				t.Errorf("%d signed segments arrived", n)
			}
			// Its numbers are not translated, so it passes the first hook as it came.
			if s := d.accounted(t).Packets; s.Dropped+s.Unchanged+s.Emitted > 0 {
				t.Errorf("packets were not rebuilt: %+v, %v", s, d.reasons(t))
			}
		})
	}
}

// again makes a system call until no signal interrupts it, as one does with a timeout.
func again(call func() (int, error)) (n int, err error) {
	for n, err = call(); err == unix.EINTR; n, err = call() {
	}
	return n, err
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := again(func() (int, error) { return unix.Write(fd, data) })
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// signedSegments counts the received segments, all of which have to have a signature,
// which is that option; -1: one has none.
func signedSegments(frames []lab.Frame, option layers.TCPOptionKind) (n int) {
	for _, f := range frames {
		tcp, _ := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
		if tcp == nil || f.Outgoing {
			continue
		}
		signed := false
		for _, o := range tcp.Options {
			signed = signed || o.OptionType == option
		}
		if !signed {
			return -1
		}
		n++
	}
	return n
}
