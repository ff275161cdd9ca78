package pcapng

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// packets are written and read again by others.
var packets = []Packet{
	{Time: 1700000000123456789, Data: []byte{0x45, 0, 0, 20, 1, 2, 3}, Length: 20, Direction: Received, Comment: "drop tcp.flags.null: é"},
	{Time: 1700000001000000001, Ethernet: true, Data: bytes.Repeat([]byte{0xa5}, 60), Direction: Sent},
	{Time: 0, Data: []byte{0x60}, Direction: Sent, Comment: "x"},
	{Time: 1, Data: nil, Length: 0, Direction: Received, Comment: "nothing at all"},
}

func capture(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, "promethos")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestReadByGopacket: another implementation reads what was written.
func TestReadByGopacket(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(capture(t)), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range packets {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		link := layers.LinkTypeRaw
		if want.Ethernet {
			link = layers.LinkTypeEthernet
		}
		if !bytes.Equal(data, want.Data) || info.Length != max(want.Length, len(want.Data)) || !info.Timestamp.Equal(time.Unix(0, want.Time)) || info.AncillaryData[0] != link {
			t.Errorf("packet %d: %x, %+v; want %+v", i, data, info, want)
		}
		if got := strings.Join(options.Comments, "|"); got != want.Comment {
			t.Errorf("packet %d: comment %q, want %q", i, got, want.Comment)
		}
		if options.Flags == nil || uint32(options.Flags.ToUint32()) != uint32(want.Direction) {
			t.Errorf("packet %d: flags %+v, want %d", i, options.Flags, want.Direction)
		}
	}
	if _, _, err := r.ReadPacketData(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last packet: %v", err)
	}
}

// TestReadByTshark: Wireshark shows the comments.
func TestReadByTshark(t *testing.T) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Skipf("needs tshark: %v", err)
	}
	file := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(file, capture(t), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-n", "-r", file, "-T", "fields", "-e", "frame.comment", "-e", "frame.len")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "drop tcp.flags.null: é\t20\n\t60\nx\t1\nnothing at all\t0\n"; string(out) != want {
		t.Errorf("tshark says %q, want %q", out, want)
	}
}

// limited is a file on a disk that becomes full.
type limited struct{ left int }

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.left {
		return 0, errors.New("no space left on device")
	}
	l.left -= len(b)
	return len(b), nil
}

func TestWriteErrors(t *testing.T) {
	size := len(capture(t))
	for left := range size {
		w, err := NewWriter(&limited{left}, "promethos")
		for i := 0; err == nil && i < len(packets); i++ {
			err = w.Write(packets[i])
		}
		if err == nil {
			t.Errorf("%d bytes fit into %d", size, left)
		}
	}
	w, err := NewWriter(io.Discard, "promethos")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Packet{Comment: strings.Repeat("x", maxComment+1)}); !errors.Is(err, ErrComment) {
		t.Errorf("a long comment: %v", err)
	}
}
