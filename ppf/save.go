package ppf

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/promethos/promethos/packet"
)

// ConnSaver is a Processor whose connections outlive the program: what it keeps of
// one is written when the program stops, and taken up when it starts again. The
// connection is locked.
type ConnSaver interface {
	// SavedForm names the form of what SaveConn writes; another form, another name.
	SavedForm() string
	// SaveConn appends what is kept of a connection. It reports false for one that
	// is not the processor's, or that cannot be taken up again.
	SaveConn(c *Conn, b []byte) (_ []byte, ok bool)
	// RestoreConn is the inverse; times that it finds are later by the given number
	// of nanoseconds in this run. What it does not accept leaves nothing behind.
	RestoreConn(c *Conn, b []byte, later int64) error
}

// ErrSaved reports a file of connections that is damaged, or of another version.
var ErrSaved = errors.New("not a file of connections that this version can read")

// savedMagic begins the file: its name and the version of its form. Behind it
// stand savedHead, the instances, the connections, and the SHA-256 of all that.
const savedMagic = "PROMETHOS CONNECTIONS 1\n"

// savedHead tells when the file was written, by the clock of the run and by that
// on the wall, and what follows.
type savedHead struct {
	Now, Wall   int64
	Instances   uint32
	Connections uint64
	RecordSize  uint32 // of savedConn, which packages may change
}

// savedConn is a connection; what its ConnSaver wrote follows.
type savedConn struct {
	Instance   uint32 // in the list of the file
	Saver      uint8  // in the instance's list
	Opened     uint8
	Translated bool
	Key        Key // of the flow that opened it
	Created    int64
	Deadline   int64
	GiveWay    int64 // 0: never
	Half       [2]Half
	Length     uint32
}

// maxSavedState bounds what a ConnSaver writes for one connection, and text in the
// file.
const maxSavedState = 1 << 30

// savers lists an instance's functions that save, by name.
func (p *ProxyInstance) savers() (names []string) {
	for name, proc := range p.processors {
		if _, ok := proc.(ConnSaver); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// print tells an instance by what has to be the same for its connections to go
// on: name, hook, match and chains.
func (p *ProxyInstance) print() string {
	if p.spec == nil {
		return "" // made by a command, and gone with the program
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", p.Name, p.Group)
	for d := range p.Chain {
		c := p.spec.Match.Flow(Dir(d))
		fmt.Fprintf(&b, "\n%v %s %s", Dir(d), c.String(), strings.Join(p.Chain[d], ","))
	}
	return b.String()
}

func (p *ProxyInstance) printSum() uint32 { return crc32.ChecksumIEEE([]byte(p.print())) }

// SaveConnections writes the connections of the file's instances, as far as their
// functions are ConnSavers, and tells how many. No worker may run.
func (e *Engine) SaveConnections(w io.Writer) (n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list, place := []*ProxyInstance{}, map[uint32]uint32{}
	for _, p := range *e.proxy.byID.Load() {
		// A leg is a socket's, and goes with it.
		if p != nil && p.spec != nil && !p.transparent() && len(p.savers()) > 0 {
			place[p.id] = uint32(len(list))
			list = append(list, p)
		}
	}
	records := e.savedConns(list, place, func([]byte) {})
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	head := savedHead{e.env.Now(), Wall(e.env), uint32(len(list)), uint64(records), uint32(binary.Size(savedConn{}))}
	b := must(binary.Append([]byte(savedMagic), binary.LittleEndian, head))
	for _, p := range list {
		b = appendText(b, p.print())
		names := p.savers()
		b = append(b, uint8(len(names)))
		for _, name := range names {
			b = appendText(appendText(b, name), p.processors[name].(ConnSaver).SavedForm())
		}
	}
	out.Write(b) // Flush tells what goes wrong
	n = e.savedConns(list, place, func(record []byte) { out.Write(record) })
	if err := out.Flush(); err != nil {
		return 0, err
	}
	_, err = w.Write(sum.Sum(nil))
	return n, err
}

// savedConns calls write with each connection's record, and counts them.
func (e *Engine) savedConns(list []*ProxyInstance, place map[uint32]uint32, write func([]byte)) (n int) {
	savers := make([][]string, len(list))
	for i, p := range list {
		savers[i] = p.savers()
	}
	var record, state []byte
	e.table.each(func(c *Conn) bool {
		i, ok := place[c.proxy]
		if !ok || c.hasExtra || c.key[ServerToClient] != c.key[ClientToServer].Reverse() {
			return true // it holds what the next run does not have: further keys, a port of this host
		}
		for s, name := range savers[i] {
			if state, ok = list[i].processors[name].(ConnSaver).SaveConn(c, state[:0]); !ok || len(state) > maxSavedState {
				continue
			}
			record = must(binary.Append(record[:0], binary.LittleEndian, savedConn{
				Instance: i, Saver: uint8(s), Opened: uint8(c.opened), Translated: c.Translated, Key: c.key[c.opened],
				Created: c.Created, Deadline: e.table.Deadline(c), GiveWay: e.table.yields(c), Half: c.Half, Length: uint32(len(state)),
			}))
			write(append(record, state...))
			n++
			break
		}
		return true
	})
	return n
}

// must takes the error of writing a value of fixed size into memory, of which
// there is none.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

// Restored tells what became of saved connections.
type Restored struct {
	Restored int
	// Ended were over by now, and Changed are of instances that are not the same
	// any more.
	Ended, Changed int
}

// RestoreConnections takes up what SaveConnections wrote. A file that is damaged
// is refused as a whole, with an error that wraps ErrSaved. Instances that the file
// knows adopt nothing from now on. No worker may run.
func (e *Engine) RestoreConnections(r io.ReadSeeker) (sum Restored, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	length, err := checkSaved(r)
	if err != nil {
		return sum, err
	}
	in := &savedReader{r: bufio.NewReaderSize(r, 1<<16), left: length}
	in.bytes(uint32(len(savedMagic)))
	var head savedHead
	in.value(&head)
	if in.err == nil && head.RecordSize != uint32(binary.Size(savedConn{})) {
		return sum, fmt.Errorf("%w: connections of %d bytes", ErrSaved, head.RecordSize)
	}
	from := make([]savedInstance, 0, min(head.Instances, 1<<16))
	for range head.Instances {
		if in.err != nil {
			return sum, fmt.Errorf("%w: %w", ErrSaved, in.err)
		}
		from = append(from, e.savedInstance(in))
	}
	later := e.env.Now() - max(Wall(e.env)-head.Wall, 0) - head.Now
	for range head.Connections {
		var c savedConn
		in.value(&c)
		state := in.bytes(c.Length)
		if in.err != nil || int(c.Instance) >= len(from) || c.Opened > uint8(ServerToClient) {
			return sum, fmt.Errorf("%w: connection %d of %d", ErrSaved, sum.Restored+sum.Ended+sum.Changed+1, head.Connections)
		}
		if proxy := from[c.Instance].proxy; proxy != nil && e.restore(proxy, &from[c.Instance], &c, state, later) {
			sum.Restored++
		} else {
			sum.Changed++
		}
	}
	// Whoever waits for one of those whose time was up meanwhile is told, or it goes on.
	sum.Ended = e.table.expire(e.env.Now(), e.freed)
	sum.Restored -= sum.Ended
	for _, i := range from {
		if i.proxy != nil {
			i.proxy.restored.Store(true)
		}
	}
	return sum, nil
}

// savedInstance is an instance of the file, and what it is now; proxy is nil where
// it is not the same.
type savedInstance struct {
	proxy  *ProxyInstance
	savers []ConnSaver // nil: none of that form
}

func (e *Engine) savedInstance(in *savedReader) (i savedInstance) {
	print := in.text()
	for _, p := range *e.proxy.byID.Load() {
		if p != nil && p.spec != nil && p.print() == print {
			i.proxy = p
		}
	}
	var functions uint8
	in.value(&functions)
	for range functions {
		name, form := in.text(), in.text()
		var saver ConnSaver
		if i.proxy != nil {
			if s, ok := i.proxy.processors[name].(ConnSaver); ok && s.SavedForm() == form {
				saver = s
			}
		}
		i.savers = append(i.savers, saver)
	}
	return i
}

// restore makes one connection. One whose numbers are translated needs an
// instance that takes its packets where that works.
func (e *Engine) restore(p *ProxyInstance, from *savedInstance, s *savedConn, state []byte, later int64) bool {
	if int(s.Saver) >= len(from.savers) || from.savers[s.Saver] == nil || s.Key.Group != p.Group ||
		s.Translated && !p.numbers.on() {
		return false
	}
	c, r := e.table.create(p, 0, s.Key, Dir(s.Opened), s.Created+later)
	if r != packet.ReasonNone {
		return false
	}
	c.Half, c.Translated = s.Half, s.Translated
	for d := range c.Half {
		c.Half[d].Timestamp += later
	}
	e.table.SetDeadline(c, s.Deadline+later)
	if s.GiveWay != 0 {
		e.table.GiveWay(c, s.GiveWay+later)
	}
	if err := from.savers[s.Saver].RestoreConn(c, state, later); err != nil {
		e.table.remove(c)
		return false
	}
	if a, ok := from.savers[s.Saver].(ConnAdopter); ok && c.Translated {
		if note, known := a.ConnNote(c); known {
			e.table.remember(c, p.printSum(), note)
		}
	}
	c.mu.Unlock()
	return true
}

// checkSaved verifies begin and sum of a file, and leaves it at its begin; length
// is that of what the sum is of.
func checkSaved(r io.ReadSeeker) (length int64, err error) {
	end, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if _, err = r.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	length = end - sha256.Size
	if length < int64(len(savedMagic)) {
		return 0, fmt.Errorf("%w: %d bytes", ErrSaved, end)
	}
	begin, h := make([]byte, len(savedMagic)), sha256.New()
	if _, err = io.ReadFull(io.TeeReader(r, h), begin); err != nil {
		return 0, err
	}
	if string(begin) != savedMagic {
		return 0, fmt.Errorf("%w: it begins with %q", ErrSaved, begin)
	}
	if _, err = io.CopyN(h, r, length-int64(len(begin))); err != nil {
		return 0, err
	}
	var want [sha256.Size]byte
	if _, err = io.ReadFull(r, want[:]); err != nil {
		return 0, err
	}
	if !bytes.Equal(h.Sum(nil), want[:]) {
		return 0, fmt.Errorf("%w: its checksum is wrong", ErrSaved)
	}
	_, err = r.Seek(0, io.SeekStart)
	return length, err
}

// savedReader reads the parts of a file; after an error all are empty. left is how
// many bytes there still are.
type savedReader struct {
	r    io.Reader
	left int64
	err  error
}

func (s *savedReader) bytes(n uint32) []byte {
	if s.err == nil && int64(n) > s.left {
		s.err = io.ErrUnexpectedEOF
	}
	if s.err != nil {
		return nil
	}
	b := make([]byte, n)
	s.left -= int64(n)
	_, s.err = io.ReadFull(s.r, b)
	return b
}

func (s *savedReader) value(v any) {
	if b := s.bytes(uint32(binary.Size(v))); s.err == nil {
		_, s.err = binary.Decode(b, binary.LittleEndian, v)
	}
}

func (s *savedReader) text() string {
	var n uint32
	s.value(&n)
	return string(s.bytes(n))
}
