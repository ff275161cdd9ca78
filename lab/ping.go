package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/packet"
)

// EchoOptions say what Ping and UDPEcho send. The zero value is one probe of 56
// bytes with as long to come back as anything that works may take.
type EchoOptions struct {
	Count   int           // probes, one after the other; 0 means 1
	Size    int           // payload bytes; 0 means 56
	Timeout time.Duration // for each answer; 0 means a minute
}

// EchoResult is what came back.
type EchoResult struct {
	Sent, Received int
	RTTs           []time.Duration // of those received
}

func (o *EchoOptions) defaults() {
	if o.Count == 0 {
		o.Count = 1
	}
	if o.Size == 0 {
		o.Size = 56
	}
	if o.Timeout == 0 {
		o.Timeout = patience
	}
}

// echoes tells the runs of this process apart.
var echoes atomic.Uint32

// Types of ICMP messages (RFC 792, RFC 4443 §4).
const (
	icmpEchoRequest4, icmpEchoReply4 = 8, 0
	icmpEchoRequest6, icmpEchoReply6 = 128, 129
)

// Ping sends ICMP or ICMPv6 echo requests to an address. A probe without answer
// is no error but missing in Received; an answer that differs from its request
// wraps ErrCorrupt.
func (h *Host) Ping(ctx context.Context, to netip.Addr, options EchoOptions) (EchoResult, error) {
	network, local, request, reply := "ip4:icmp", "0.0.0.0", byte(icmpEchoRequest4), byte(icmpEchoReply4)
	if to.Is6() {
		network, local, request, reply = "ip6:ipv6-icmp", "::", icmpEchoRequest6, icmpEchoReply6
	}
	c, err := h.ListenPacket(ctx, network, local)
	if err != nil {
		return EchoResult{}, err
	}
	id := uint16(echoes.Add(1))
	probe := func(seq uint16, payload []byte) []byte {
		message := []byte{request, 0, 0, 0}
		message = binary.BigEndian.AppendUint16(message, id)
		message = binary.BigEndian.AppendUint16(message, seq)
		message = append(message, payload...)
		if to.Is4() { // the kernel writes the checksum of ICMPv6
			binary.BigEndian.PutUint16(message[2:], packet.SumBytes(message).Checksum())
		}
		return message
	}
	answer := func(b []byte, seq uint16) ([]byte, bool) {
		ok := len(b) >= 8 && b[0] == reply && binary.BigEndian.Uint16(b[4:]) == id && binary.BigEndian.Uint16(b[6:]) == seq
		if !ok {
			return nil, false
		}
		return b[8:], true
	}
	return echo(ctx, c, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}, options, probe, answer)
}

// UDPEcho sends datagrams to a StartUDPEcho server; results as for Ping. Size is
// at least 2.
func (h *Host) UDPEcho(ctx context.Context, addr string, options EchoOptions) (EchoResult, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return EchoResult{}, fmt.Errorf("udp echo: %w", err)
	}
	local := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if to.Addr().Is6() {
		local = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	c, err := h.ListenPacket(ctx, "udp", local.String())
	if err != nil {
		return EchoResult{}, err
	}
	probe := func(seq uint16, payload []byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, seq), payload...)
	}
	answer := func(b []byte, seq uint16) ([]byte, bool) {
		if len(b) < 2 || binary.BigEndian.Uint16(b) != seq {
			return nil, false
		}
		return b[2:], true
	}
	options.Size = max(options.Size-2, 0)
	return echo(ctx, c, net.UDPAddrFromAddrPort(to), options, probe, answer)
}

// echo sends probes and waits for the answer of each. It closes c.
func echo(ctx context.Context, c net.PacketConn, to net.Addr, options EchoOptions,
	probe func(seq uint16, payload []byte) []byte, answer func(b []byte, seq uint16) ([]byte, bool)) (EchoResult, error) {
	defer c.Close()
	options.defaults()
	payload, err := io.ReadAll(Data(uint64(options.Size), int64(options.Size)))
	if err != nil {
		return EchoResult{}, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var result EchoResult
	buf := make([]byte, 1<<16)
	for i := range options.Count {
		seq := uint16(i + 1)
		start := time.Now()
		if err := c.SetReadDeadline(start.Add(options.Timeout)); err != nil {
			return result, errors.Join(err, context.Cause(ctx))
		}
		if _, err := c.WriteTo(probe(seq, payload), to); err != nil {
			return result, errors.Join(fmt.Errorf("echo to %v: %w", to, err), context.Cause(ctx))
		}
		result.Sent++
		for {
			n, _, err := c.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return result, errors.Join(fmt.Errorf("echo from %v: %w", to, err), context.Cause(ctx))
			}
			got, ours := answer(buf[:n], seq)
			if !ours {
				continue
			}
			if !bytes.Equal(got, payload) {
				return result, fmt.Errorf("echo from %v: %d bytes for %d: %w", to, len(got), len(payload), ErrCorrupt)
			}
			result.Received++
			result.RTTs = append(result.RTTs, time.Since(start))
			break
		}
	}
	return result, nil
}

// UDPServer returns datagrams to their senders.
type UDPServer struct {
	Addr string // "ADDRESS:PORT"
	conn net.PacketConn
	done chan error
}

// StartUDPEcho starts a server for UDPEcho; addr as for Listen. The caller calls
// Close.
func (h *Host) StartUDPEcho(ctx context.Context, addr string) (*UDPServer, error) {
	c, err := h.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	s := &UDPServer{c.LocalAddr().String(), c, make(chan error, 1)}
	go func() {
		buf := make([]byte, 1<<16)
		var unsent error // the first; an unreachable client must not end the server
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					err = nil // Close
				}
				s.done <- errors.Join(unsent, err)
				return
			}
			if _, err := c.WriteTo(buf[:n], from); err != nil && unsent == nil {
				unsent = err
			}
		}
	}()
	return s, nil
}

// Close ends the server and gives what kept it from answering, if anything did.
// It is called once.
func (s *UDPServer) Close() error {
	return errors.Join(s.conn.Close(), <-s.done)
}
