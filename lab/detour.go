package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// Addresses of the cable past the proxy.
var (
	detourClient = []netip.Prefix{netip.MustParsePrefix("10.77.3.1/24"), netip.MustParsePrefix("fd77:3::1/64")}
	detourServer = []netip.Prefix{netip.MustParsePrefix("10.77.3.2/24"), netip.MustParsePrefix("fd77:3::2/64")}
)

// DetourInterface is the name of the cable's end on either host.
const DetourInterface = "detour0"

// Detour lays a cable between client and server past the proxy of a routed lab, and
// leads what the server sends to the client's network over it, by the client: its
// answers take another way than requests do. It lasts as long as the lab.
func (l *Lab) Detour(ctx context.Context) error {
	client := port{host: l.Client, name: DetourInterface, addrs: detourClient}
	server := port{host: l.Server, name: DetourInterface, addrs: detourServer}
	if err := connect(client, server); err != nil {
		return err
	}
	if err := l.open(ctx, []port{client, server}); err != nil {
		return err
	}
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := l.Client.Sysctl(key, "1"); err != nil {
			return fmt.Errorf("detour: %w", err)
		}
	}
	for i, p := range routedClient {
		if err := l.Server.AddRoute(p.Masked(), detourClient[i].Addr()); err != nil {
			return fmt.Errorf("detour: %w", err)
		}
	}
	return nil
}
