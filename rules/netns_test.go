package rules

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	link "github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/promethos/promethos/ppf"
)

// The addresses of the test networks: client - router - server, both families.
var (
	clientAddr, clientAddr6 = netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:1::2")
	serverAddr, serverAddr6 = netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("2001:db8:2::80")
	routerAddr, routerAddr6 = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:1::1")
)

// patience bounds a wait for something that must happen.
const patience = time.Minute

// inNS runs f on a thread inside a namespace; the thread ends with f where it
// cannot be put back.
func inNS(t *testing.T, ns netns.NsHandle, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			t.Error(err)
			return
		}
		defer home.Close()
		if err := netns.Set(ns); err != nil {
			t.Error(err)
			return
		}
		f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	if t.Failed() {
		t.FailNow()
	}
}

// newNS makes a network namespace that ends with the test.
func newNS(t *testing.T) netns.NsHandle {
	t.Helper()
	needAdmin(t)
	ns := netns.None()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		var err error
		ns, err = netns.New()
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	inNS(t, ns, func() {
		lo, err := link.LinkByName("lo")
		if err == nil {
			err = link.LinkSetUp(lo)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return ns
}

// needAdmin skips a test that cannot make namespaces.
func needAdmin(t *testing.T) {
	t.Helper()
	var h unix.CapUserHeader
	h.Version = unix.LINUX_CAPABILITY_VERSION_3
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		t.Fatal(err)
	}
	for name, bit := range map[string]int{"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_RAW": unix.CAP_NET_RAW} {
		if d[bit/32].Effective&(1<<(bit%32)) == 0 {
			t.Skipf("needs %s", name)
		}
	}
}

// network is client - router - server: the router's interfaces are client0 and
// server0, those of the others eth0.
type network struct {
	client, router, server netns.NsHandle
	mac                    map[string]net.HardwareAddr // of every interface, by namespace/name
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{client: newNS(t), router: newNS(t), server: newNS(t), mac: map[string]net.HardwareAddr{}}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, side := range []struct {
		name             string
		peer             netns.NsHandle
		mac, peerMAC     string
		addr, peerAddr   string
		addr6, peerAddr6 string
	}{
		{"client0", n.client, "02:00:00:00:01:01", "02:00:00:00:01:02", "198.51.100.1/24", "198.51.100.2/24", "2001:db8:1::1/64", "2001:db8:1::2/64"},
		{"server0", n.server, "02:00:00:00:02:01", "02:00:00:00:02:80", "192.0.2.1/24", "192.0.2.80/24", "2001:db8:2::1/64", "2001:db8:2::80/64"},
	} {
		mac, err := net.ParseMAC(side.mac)
		check(err)
		peerMAC, err := net.ParseMAC(side.peerMAC)
		check(err)
		h, err := link.NewHandleAt(n.router)
		check(err)
		defer h.Close()
		p, err := link.NewHandleAt(side.peer)
		check(err)
		defer p.Close()
		attrs := link.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = side.name, mac
		veth := &link.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: peerMAC, PeerNamespace: link.NsFd(side.peer)}
		check(h.LinkAdd(veth))
		up := func(h *link.Handle, name string, neighbour net.HardwareAddr, own, own6, other, other6 string) {
			t.Helper()
			l, err := h.LinkByName(name)
			check(err)
			for _, a := range []string{own, own6} {
				addr, err := link.ParseAddr(a)
				check(err)
				addr.Flags = unix.IFA_F_NODAD
				check(h.AddrAdd(l, addr))
			}
			check(h.LinkSetUp(l))
			for _, a := range []string{other, other6} {
				check(h.NeighSet(&link.Neigh{LinkIndex: l.Attrs().Index, State: link.NUD_PERMANENT, IP: netip.MustParsePrefix(a).Addr().AsSlice(), HardwareAddr: neighbour}))
				if name == "eth0" {
					check(h.RouteAdd(&link.Route{LinkIndex: l.Attrs().Index, Gw: netip.MustParsePrefix(a).Addr().AsSlice()}))
				}
			}
		}
		up(h, side.name, peerMAC, side.addr, side.addr6, side.peerAddr, side.peerAddr6)
		up(p, "eth0", mac, side.peerAddr, side.peerAddr6, side.addr, side.addr6)
		n.mac["router/"+side.name], n.mac["peer/"+side.name] = mac, peerMAC
	}
	awaitUp(t, n.router, "client0", "server0")
	awaitUp(t, n.client, "eth0")
	awaitUp(t, n.server, "eth0")
	inNS(t, n.router, func() {
		for _, f := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
			if err := os.WriteFile(f, []byte("1"), 0); err != nil {
				t.Error(err)
			}
		}
	})
	return n
}

// awaitUp waits until interfaces send: the kernel starts a link's queue some time
// after its carrier.
func awaitUp(t *testing.T, ns netns.NsHandle, names ...string) {
	t.Helper()
	h, err := link.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		up := 0
		for _, name := range names {
			if l, err := h.LinkByName(name); err == nil && l.Attrs().OperState == link.OperUp {
				up++
			}
		}
		if up == len(names) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("interfaces %v do not come up", names)
		}
	}
}

// openKernelIn opens the rules of a namespace and what its kernel can do.
func openKernelIn(t *testing.T, ns netns.NsHandle) (*Kernel, Features) {
	t.Helper()
	var k *Kernel
	inNS(t, ns, func() {
		var err error
		if k, err = OpenKernel(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { k.Close() })
	f, err := k.Probe()
	if err != nil {
		t.Fatal(err)
	}
	return k, f
}

// apply compiles and installs a plan.
func apply(t *testing.T, k *Kernel, p Plan, f Features) {
	t.Helper()
	rs, err := Compile(p, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(rs); err != nil {
		t.Fatal(err)
	}
}

// taken is a packet that a queue handed over.
type taken struct {
	queue uint16
	hook  ppf.Hook
	data  []byte
}

// verdict is what a consumer answers: accept or drop, and a new packet if not nil.
type verdict struct {
	accept bool
	data   []byte
}

// consume listens on queues of a namespace until the test ends or stop is called;
// decide is called for every packet, from one goroutine.
func consume(t *testing.T, ns netns.NsHandle, decide func(taken) verdict, queues ...uint16) (stop func()) {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(ns)})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	config := func(q uint16, attribute uint16, data []byte) {
		t.Helper()
		message, err := queueMessage(2, netlink.Request|netlink.Acknowledge, q, netlink.Attribute{Type: attribute, Data: data})
		if err == nil {
			_, err = conn.Execute(message)
		}
		if err != nil {
			t.Fatalf("queue %d: %v", q, err)
		}
	}
	for _, q := range queues {
		config(q, 1, []byte{1, 0, 0, 0})        // NFQA_CFG_CMD: NFQNL_CFG_CMD_BIND
		config(q, 2, []byte{0, 0, 255, 255, 2}) // NFQA_CFG_PARAMS: NFQNL_COPY_PACKET
		config(q, 3, []byte{0, 0, 0x10, 0})     // NFQA_CFG_QUEUE_MAXLEN: 4096
	}
	var running sync.WaitGroup
	var closing atomic.Bool
	running.Go(func() {
		for {
			messages, err := conn.Receive()
			switch {
			case closing.Load():
				return
			case errors.Is(err, unix.ENOENT):
				continue // a hook went away, and the kernel dropped what was queued there
			case err != nil:
				t.Errorf("queues %v: %v", queues, err)
				return
			}
			for _, m := range messages {
				if err := answer(conn, m, decide); err != nil && !closing.Load() {
					t.Errorf("verdict: %v", err)
				}
			}
		}
	})
	stop = sync.OnceFunc(func() {
		closing.Store(true)
		conn.Close()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// queueMessage is a message of nfnetlink_queue (linux/netfilter/nfnetlink_queue.h).
func queueMessage(kind uint16, flags netlink.HeaderFlags, queue uint16, attributes ...netlink.Attribute) (netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attributes)
	const subsystem = 3 // NFNL_SUBSYS_QUEUE
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem<<8 | kind), Flags: flags},
		Data:   append([]byte{unix.AF_UNSPEC, 0, byte(queue >> 8), byte(queue)}, data...),
	}, err
}

// answer decides one packet.
func answer(conn *netlink.Conn, m netlink.Message, decide func(taken) verdict) error {
	attributes, err := netlink.UnmarshalAttributes(m.Data[4:])
	if err != nil {
		return err
	}
	p := taken{queue: binary.BigEndian.Uint16(m.Data[2:])}
	var id []byte
	for _, a := range attributes {
		switch a.Type {
		case 1: // NFQA_PACKET_HDR: id, protocol, hook
			id, p.hook = a.Data[:4], ppf.Hook(a.Data[6]+1)
		case 10: // NFQA_PAYLOAD
			p.data = a.Data
		}
	}
	if id == nil {
		return nil
	}
	v := decide(p)
	head := make([]byte, 4, 8)
	if v.accept {
		head[3] = 1 // NF_ACCEPT
	}
	reply := []netlink.Attribute{{Type: 2, Data: append(head, id...)}} // NFQA_VERDICT_HDR
	if v.data != nil {
		reply = append(reply, netlink.Attribute{Type: 10, Data: v.data})
	}
	message, err := queueMessage(1, netlink.Request, p.queue, reply...)
	if err == nil {
		_, err = conn.Send(message)
	}
	return err
}

// operator runs a transaction on the operator's own table, `inet operator`.
func operator(t *testing.T, ns netns.NsHandle, write func(*nftables.Conn, *nftables.Table)) {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "operator"})
	write(conn, table)
	if err := conn.Flush(); err != nil {
		t.Fatalf("operator's rules: %v", err)
	}
}
