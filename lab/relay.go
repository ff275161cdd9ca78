package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// relayMark leads what TPROXY took to this host; relayTable is the routing table
// for it.
const (
	relayMark  = 0x1ab
	relayTable = 0x1ab
	relayChain = "lab_relay"
)

// Relay is a plain TCP relay: what others put in front of a server. The host's
// kernel ends the clients' connections to a port (TPROXY), and the relay copies
// bytes between them and connections of its own. All else is forwarded.
type Relay struct{ *StreamServer }

// StartRelay starts a relay on a host for one port of all servers behind it. The
// caller calls Close.
func (h *Host) StartRelay(ctx context.Context, port uint16) (*Relay, error) {
	transparent := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1), unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1))
		}), err)
	}}
	transparent.SetMultipathTCP(false)
	var l net.Listener
	err := h.Do(func() (err error) {
		l, err = transparent.Listen(ctx, "tcp", "[::]:0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	r := &Relay{serveStream(l, func(c net.Conn) error { return h.relay(ctx, c) })}
	if err := errors.Join(h.divert(port, uint16(l.Addr().(*net.TCPAddr).Port)), h.relayRoutes()); err != nil {
		return nil, errors.Join(fmt.Errorf("relay: %w", err), r.StreamServer.Close())
	}
	return r, nil
}

// relay serves one connection; its local address is the server that the client
// wants. That an end resets is its own affair.
func (h *Host) relay(ctx context.Context, client net.Conn) error {
	server, err := h.Dial(ctx, "tcp", client.LocalAddr().String())
	if err != nil {
		return nil
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.(*net.TCPConn).CloseWrite()
	<-done
	return nil
}

// divert gives segments for a port to the relay's listener.
func (h *Host) divert(port, listener uint16) error {
	return h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: relayChain})
		chain := c.AddChain(&nftables.Chain{Name: relayChain, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
		for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
				&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, listener)},
				&expr.TProxy{Family: family, TableFamily: unix.NFPROTO_INET, RegPort: 1},
				&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, relayMark)},
				&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
				&expr.Verdict{Kind: expr.VerdictAccept},
			}})
		}
		return c.Flush()
	})
}

// relayRoutes brings what bears the mark to this host.
func (h *Host) relayRoutes() error {
	return h.withNetlink(func(nl *netlink.Handle) error {
		lo, err := nl.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("interface lo: %w", err)
		}
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			_, dst, err := net.ParseCIDR(all)
			if err != nil {
				return err
			}
			rule := netlink.NewRule()
			rule.Mark, rule.Table, rule.Family = relayMark, relayTable, netlink.FAMILY_V4
			if dst.IP.To4() == nil {
				rule.Family = netlink.FAMILY_V6
			}
			if err := nl.RuleAdd(rule); err != nil {
				return fmt.Errorf("add rule for mark %#x: %w", relayMark, err)
			}
			if err := nl.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Table: relayTable, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}); err != nil {
				return fmt.Errorf("add local route %s: %w", all, err)
			}
		}
		return nil
	})
}

// AddRoute leads a network to a gateway.
func (h *Host) AddRoute(dst netip.Prefix, via netip.Addr) error {
	return h.withNetlink(func(nl *netlink.Handle) error {
		to := &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())}
		if err := nl.RouteAdd(&netlink.Route{Dst: to, Gw: via.AsSlice()}); err != nil {
			return fmt.Errorf("add route to %v via %v: %w", dst, via, err)
		}
		return nil
	})
}
