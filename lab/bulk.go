package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// BulkOptions say how much to send. Either Bytes or Duration is set.
type BulkOptions struct {
	Streams  int           // connections at a time; 0 means 1
	Reverse  bool          // the server sends
	Bytes    int64         // per stream
	Duration time.Duration // or: for so long
}

// BulkResult is a completed bulk transfer.
type BulkResult struct {
	Bytes    int64 // over all streams, as counted by the receiver and equal to what was sent
	Duration time.Duration
}

// BitsPerSecond is the rate over all streams.
func (r BulkResult) BitsPerSecond() float64 { return BitsPerSecond(r.Bytes, r.Duration) }

// A client opens with a header: 1 byte, 1 when the server is to send; the bytes
// to send; and the nanoseconds to send for, 8 bytes each. The sender ends with the
// number of bytes sent before, 8 bytes, and FIN; a receiving server answers with
// the same number.
const (
	bulkHeaderLen  = 17
	bulkTrailerLen = 8
	bulkChunk      = 1 << 18
)

// StartBulk starts a server for Bulk; addr as for Listen. The caller calls Close.
func (h *Host) StartBulk(ctx context.Context, addr string) (*StreamServer, error) {
	return h.startStream(ctx, addr, serveBulk)
}

func serveBulk(c net.Conn) error {
	var header [bulkHeaderLen]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if header[0] == 1 {
		_, err := sendBulk(c, int64(binary.BigEndian.Uint64(header[1:])), time.Duration(binary.BigEndian.Uint64(header[9:])))
		return err
	}
	n, err := receiveBulk(c)
	if err != nil {
		return err
	}
	_, err = c.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return err
}

// sendBulk sends n bytes, or for d where d is set, and the trailer.
func sendBulk(c net.Conn, n int64, d time.Duration) (sent int64, err error) {
	chunk, err := io.ReadAll(Data(0, bulkChunk))
	if err != nil {
		return 0, err
	}
	end := time.Now().Add(d)
	for {
		part := chunk
		if d == 0 {
			part = chunk[:min(n-sent, bulkChunk)]
		}
		if len(part) == 0 || d != 0 && !time.Now().Before(end) {
			break
		}
		k, err := c.Write(part)
		sent += int64(k)
		if err != nil {
			return sent, err
		}
	}
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(sent))); err != nil {
		return sent, err
	}
	return sent, c.(*net.TCPConn).CloseWrite()
}

// receiveBulk reads to the FIN and compares the trailer.
func receiveBulk(c net.Conn) (int64, error) {
	// A trailer may come in pieces: the last bytes stay in front of the next read.
	buf := make([]byte, bulkTrailerLen+bulkChunk)
	var total int64
	tail := 0
	for {
		n, err := c.Read(buf[tail:])
		total += int64(n)
		end := tail + n
		tail = min(end, bulkTrailerLen)
		copy(buf, buf[end-tail:end])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return total, err
		}
	}
	if tail < bulkTrailerLen {
		return total, fmt.Errorf("after %d bytes: %w", total, io.ErrUnexpectedEOF)
	}
	total -= bulkTrailerLen
	if sent := int64(binary.BigEndian.Uint64(buf)); sent != total {
		return total, fmt.Errorf("%d bytes received, %d sent: %w", total, sent, ErrCorrupt)
	}
	return total, nil
}

// Bulk sends as much as it can to or from a StartBulk server. All streams are
// connected before the clock starts; it stops when the last receiver has all.
// Contents are not compared (Download does that), lengths are. When ctx ends, so
// does the transfer, with an error.
func (h *Host) Bulk(ctx context.Context, addr string, options BulkOptions) (BulkResult, error) {
	if (options.Bytes > 0) == (options.Duration > 0) {
		return BulkResult{}, errors.New("bulk: want either a number of bytes or a duration")
	}
	conns := make([]net.Conn, max(options.Streams, 1))
	for i := range conns {
		c, err := h.Dial(ctx, "tcp", addr)
		if err != nil {
			return BulkResult{}, fmt.Errorf("bulk: %w", err)
		}
		defer c.Close()
		defer closeWith(ctx, c)()
		conns[i] = c
	}
	var wg sync.WaitGroup
	counts, errs := make([]int64, len(conns)), make([]error, len(conns))
	start := time.Now()
	for i, c := range conns {
		wg.Go(func() { counts[i], errs[i] = bulkStream(c, options) })
	}
	wg.Wait()
	result := BulkResult{Duration: time.Since(start)}
	for i, n := range counts {
		result.Bytes += n
		if errs[i] != nil {
			errs[i] = fmt.Errorf("bulk: stream %d: %w", i+1, errs[i])
		}
	}
	return result, errors.Join(append(errs, context.Cause(ctx))...)
}

func bulkStream(c net.Conn, options BulkOptions) (int64, error) {
	header := make([]byte, 1, bulkHeaderLen)
	if options.Reverse {
		header[0] = 1
	}
	header = binary.BigEndian.AppendUint64(header, uint64(options.Bytes))
	header = binary.BigEndian.AppendUint64(header, uint64(options.Duration))
	if _, err := c.Write(header); err != nil {
		return 0, err
	}
	if options.Reverse {
		return receiveBulk(c)
	}
	sent, err := sendBulk(c, options.Bytes, options.Duration)
	if err != nil {
		return sent, err
	}
	var answer [bulkTrailerLen]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return sent, fmt.Errorf("the server's count: %w", err)
	}
	if got := int64(binary.BigEndian.Uint64(answer[:])); got != sent {
		return got, fmt.Errorf("%d bytes received, %d sent: %w", got, sent, ErrCorrupt)
	}
	return sent, nil
}
