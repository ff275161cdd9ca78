package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

const (
	// batchLen is how many packets a source hands over at a time.
	batchLen = 64
	// sampleLen is how many packets of a crowd a measurement sends.
	sampleLen = 1 << 17
	// clientPorts is how many connections share a client's address.
	clientPorts = 50000
)

// crowd is an engine without a kernel whose proxy instances, each with the chain
// [tcp] and a server of its own, track many open connections.
type crowd struct {
	engine  *ppf.Engine
	handler ppf.Handler
	servers int
	next    int          // number of the next connection
	acks    []packet.Seq // what the client of each connection has received
	frames  [batchLen]ppf.Frame
}

// stillEnv is a world whose clock stands still.
type stillEnv struct {
	ppf.Env
	random *rand.ChaCha8
}

func (e stillEnv) Now() int64     { return int64(time.Hour) }
func (e stillEnv) Uint32() uint32 { return uint32(e.random.Uint64()) }

func server(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
}

// newCrowd makes an engine with proxy instances and opens connections, to one
// server after the other. The caller closes it.
func newCrowd(instances, connections int) (*crowd, error) {
	spec := &ppf.Spec{}
	for i := range instances {
		spec.Instances = append(spec.Instances, ppf.InstanceSpec{
			Name: fmt.Sprint("bench", i), Hook: ppf.Forward, Chain: [2][]string{{"tcp"}, {"tcp"}},
			Match: ppf.Match{Protocol: packet.ProtoTCP, Server: []netip.Prefix{netip.PrefixFrom(server(i), 32)}, Port: []ppf.PortRange{{Lo: 80, Hi: 80}}},
		})
	}
	e, err := ppf.New(ppf.Options{Env: stillEnv{ppf.DryEnv(), rand.NewChaCha8([32]byte{})}, Workers: 1})
	if err != nil {
		return nil, err
	}
	c := &crowd{engine: e, handler: e.Handlers()[0], servers: instances}
	if _, err := e.Apply(spec); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if _, err := c.open(connections); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *crowd) close() error { return c.engine.Close(context.Background()) }

// ends are the addresses of a connection.
func (c *crowd) ends(i int) (client, to netip.AddrPort) {
	n := i / clientPorts
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(10000+i%clientPorts)),
		netip.AddrPortFrom(server(i%c.servers), 80)
}

// clientSeq is where the client of a connection begins to count.
const clientSeq packet.Seq = 1000

// segment writes a TCP segment without data.
func segment(from, to netip.AddrPort, h packet.TCP) ([]byte, error) {
	var out packet.Out
	out.SetIPv4(packet.IPv4{TTL: 64, DF: true, Src: from.Addr(), Dst: to.Addr()})
	h.SrcPort, h.DstPort, h.Window = from.Port(), to.Port(), 65535
	out.SetTCP(h)
	return out.Encode(make([]byte, packet.MaxHeaders))
}

// pass sends one segment through the engine and gives what comes out.
func (c *crowd) pass(from, to netip.AddrPort, h packet.TCP) (packet.TCPView, error) {
	data, err := segment(from, to, h)
	if err != nil {
		return packet.TCPView{}, err
	}
	c.fill(&c.frames[0], data)
	c.handler.Handle(c.frames[:1])
	if f := &c.frames[0]; f.Action != ppf.Accept || f.Head == nil {
		return packet.TCPView{}, fmt.Errorf("%v > %v %v: %v instead of a new packet: %+v", from, to, h.Flags, f.Action, c.engine.ReasonCounts())
	}
	var out packet.Packet
	if r := out.Parse(packet.LinkRawIP, c.frames[0].Head); r != packet.ReasonNone {
		return packet.TCPView{}, fmt.Errorf("%v > %v %v: %v in the new packet", from, to, h.Flags, r)
	}
	return out.TCP(), nil
}

func (c *crowd) fill(f *ppf.Frame, data []byte) {
	*f = ppf.Frame{Data: data, WireLen: len(data), Link: packet.LinkRawIP, Hook: ppf.Forward, In: 1, Out: 2, Time: int64(time.Hour)}
}

// open opens connections and gives how many a second.
func (c *crowd) open(n int) (float64, error) {
	start := time.Now()
	for i := c.next; i < c.next+n; i++ {
		client, to := c.ends(i)
		syn, err := c.pass(client, to, packet.TCP{Flags: packet.SYN, Seq: clientSeq})
		if err != nil {
			return 0, err
		}
		answer, err := c.pass(to, client, packet.TCP{Flags: packet.SYN | packet.ACK, Seq: packet.Seq(i), Ack: syn.Seq().Add(1)})
		if err != nil {
			return 0, err
		}
		ack := answer.Seq().Add(1)
		if _, err := c.pass(client, to, packet.TCP{Flags: packet.ACK, Seq: clientSeq.Add(1), Ack: ack}); err != nil {
			return 0, err
		}
		c.acks = append(c.acks, ack)
	}
	c.next += n
	return float64(n) / time.Since(start).Seconds(), nil
}

// traffic gives a function that sends segments of connections chosen at random
// and tells how many a second were handled.
func (c *crowd) traffic() (func() (float64, error), error) {
	rng := rand.New(rand.NewPCG(1, 2))
	sample := make([][]byte, sampleLen)
	for n := range sample {
		i := rng.IntN(c.next)
		client, to := c.ends(i)
		var err error
		if sample[n], err = segment(client, to, packet.TCP{Flags: packet.ACK, Seq: clientSeq.Add(1), Ack: c.acks[i]}); err != nil {
			return nil, err
		}
	}
	return func() (float64, error) {
		before := c.engine.Stats().Packets.Sent
		start := time.Now()
		for at := 0; at < len(sample); at += batchLen {
			for i := range c.frames {
				c.fill(&c.frames[i], sample[at+i])
			}
			c.handler.Handle(c.frames[:])
		}
		took := time.Since(start)
		if sent := c.engine.Stats().Packets.Sent - before; sent != sampleLen {
			return 0, fmt.Errorf("%d of %d packets were sent on: %+v", sent, sampleLen, c.engine.ReasonCounts())
		}
		return sampleLen / took.Seconds(), nil
	}, nil
}
