package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultPrefix starts the namespaces' names.
const DefaultPrefix = "promethos-"

// Options say what lab to build. The zero value is the one of `promethos lab up`.
type Options struct {
	// NamePrefix starts the namespaces' names; "" means DefaultPrefix. Letters,
	// digits, hyphen, underscore and dot, at most 100.
	NamePrefix string
	// Inline chooses the layout with one subnet; see the package's description.
	Inline bool
	// NoOffloads turns segmentation, receive and checksum offload off on all
	// interfaces, so that a capture shows what a wire would carry.
	NoOffloads bool
	// Anonymous makes namespaces without names, held by this process only: any
	// number of labs at a time, none left when the process dies. It is the only
	// kind an ordinary user can make.
	Anonymous bool
	// Weather, if not nil, makes the cable between client and proxy a bad one. The
	// lab has to be taken down by the process that made it. It implies NoOffloads.
	Weather *Weather
}

func (o *Options) validate() error {
	if o.NamePrefix == "" {
		o.NamePrefix = DefaultPrefix
	}
	ok := len(o.NamePrefix) <= 100 && o.NamePrefix[0] != '.'
	for _, c := range o.NamePrefix {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c))
	}
	if !ok {
		return fmt.Errorf("lab: name prefix %q: want up to 100 letters, digits, hyphens, underscores and dots, and no dot first", o.NamePrefix)
	}
	o.NoOffloads = o.NoOffloads || o.Weather != nil
	return nil
}

// roles are the namespaces' names after the prefix, and what CONTRACT.md calls
// the hosts.
var roles = [...]string{"client", "proxy", "server"}

// Lab is a client, a proxy host and a server that are up.
type Lab struct {
	Client, Proxy, Server *Host

	options Options
	cable   *cable // nil: an ordinary one
	mu      sync.Mutex
	down    bool
}

// Up builds a lab. When it fails nothing is left behind. Where a namespace of
// that name exists the error wraps ErrExists; where the process may not make
// namespaces the error says what is missing. The caller calls Down.
func Up(ctx context.Context, options Options) (*Lab, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	l := newLab(options)
	var made []*Host
	err := func() error {
		for _, h := range l.Hosts() {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			name := h.Name
			if options.Anonymous {
				name = ""
			}
			ns, err := newNamespace(name)
			if err != nil {
				if missing := Available(); errors.Is(err, unix.EPERM) && missing != nil {
					return missing
				}
				return err
			}
			h.ns = ns
			made = append(made, h)
		}
		return l.wire(ctx)
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab up: %w", err), l.release(made))
	}
	return l, nil
}

// Attach opens a lab that another process has put up; options need only its
// NamePrefix, the layout is read from the interfaces. Close gives it back without
// taking it down.
func Attach(options Options) (*Lab, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	options.Anonymous = false
	l := newLab(options)
	err := func() error {
		for _, h := range l.Hosts() {
			ns, err := openNamespace(h.Name)
			if err != nil {
				return err
			}
			h.ns = ns
		}
		inline, err := l.readLayout()
		l.setLayout(inline)
		return err
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab attach: %w", err), l.Close())
	}
	return l, nil
}

// Remove takes down the lab with options' NamePrefix whoever made it, also one
// that a crash left half built. What is not there is no error.
func Remove(options Options) error {
	if err := options.validate(); err != nil {
		return err
	}
	options.Anonymous = false
	l := newLab(options)
	for _, h := range l.Hosts() {
		// One that cannot be opened has no interfaces either; its name goes all the same.
		h.ns, _ = openNamespace(h.Name)
	}
	return l.release(l.Hosts())
}

// Down takes the lab down: interfaces first, so that nothing flows any more even
// where a process still lives in a namespace. A second call does nothing.
func (l *Lab) Down() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil
	}
	l.down = true
	return l.release(l.Hosts())
}

// Close gives up this process' hold on the lab; a lab with names stays up. After
// Down it does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil
	}
	l.down = true
	return l.closeHosts(l.Hosts())
}

// Hosts lists client, proxy and server.
func (l *Lab) Hosts() []*Host { return []*Host{l.Client, l.Proxy, l.Server} }

// Host finds a host by its role: client, proxy or server.
func (l *Lab) Host(role string) (*Host, error) {
	i := slices.Index(roles[:], role)
	if i < 0 {
		return nil, fmt.Errorf("lab: host %q: want one of %s", role, strings.Join(roles[:], ", "))
	}
	return l.Hosts()[i], nil
}

// Inline tells the layout.
func (l *Lab) Inline() bool { return l.options.Inline }

func newLab(options Options) *Lab {
	host := func(role string) *Host { return &Host{Name: options.NamePrefix + role} }
	l := &Lab{Client: host(roles[0]), Proxy: host(roles[1]), Server: host(roles[2]), options: options}
	l.setLayout(options.Inline)
	return l
}

// Addresses of the two layouts.
var (
	routedClient = []netip.Prefix{netip.MustParsePrefix("10.77.1.2/24"), netip.MustParsePrefix("fd77:1::2/64")}
	routedProxyC = []netip.Prefix{netip.MustParsePrefix("10.77.1.1/24"), netip.MustParsePrefix("fd77:1::1/64")}
	routedProxyS = []netip.Prefix{netip.MustParsePrefix("10.77.2.1/24"), netip.MustParsePrefix("fd77:2::1/64")}
	routedServer = []netip.Prefix{netip.MustParsePrefix("10.77.2.2/24"), netip.MustParsePrefix("fd77:2::2/64")}
	inlineClient = []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("fd77::2/64")}
	inlineServer = []netip.Prefix{netip.MustParsePrefix("10.77.0.3/24"), netip.MustParsePrefix("fd77::3/64")}
)

// Hardware addresses are locally administered and always the same, so that
// captures of two runs compare.
var (
	macClient  = net.HardwareAddr{0x02, 0x77, 0, 0, 1, 2}
	macClient0 = net.HardwareAddr{0x02, 0x77, 0, 0, 1, 1}
	macServer0 = net.HardwareAddr{0x02, 0x77, 0, 0, 2, 1}
	macServer  = net.HardwareAddr{0x02, 0x77, 0, 0, 2, 2}
)

func (l *Lab) setLayout(inline bool) {
	l.options.Inline = inline
	for i, p := range l.ports() {
		if i == 2 || len(p.addrs) == 0 {
			continue // the proxy is known by its address towards the client
		}
		p.host.IPv4, p.host.IPv6 = p.addrs[0].Addr(), p.addrs[1].Addr()
	}
}

// ports lists the four ends of the two cables, from client to server.
func (l *Lab) ports() [4]port {
	if l.options.Inline {
		return [4]port{
			{host: l.Client, name: EndInterface, mac: macClient, addrs: inlineClient},
			{host: l.Proxy, name: ClientInterface, mac: macClient0},
			{host: l.Proxy, name: ServerInterface, mac: macServer0},
			{host: l.Server, name: EndInterface, mac: macServer, addrs: inlineServer},
		}
	}
	via := func(addrs []netip.Prefix) []netip.Addr { return []netip.Addr{addrs[0].Addr(), addrs[1].Addr()} }
	return [4]port{
		{host: l.Client, name: EndInterface, mac: macClient, addrs: routedClient, via: via(routedProxyC)},
		{host: l.Proxy, name: ClientInterface, mac: macClient0, addrs: routedProxyC},
		{host: l.Proxy, name: ServerInterface, mac: macServer0, addrs: routedProxyS},
		{host: l.Server, name: EndInterface, mac: macServer, addrs: routedServer, via: via(routedProxyS)},
	}
}

// wire fills empty namespaces.
func (l *Lab) wire(ctx context.Context) error {
	for _, h := range l.Hosts() {
		if err := h.prepare(h == l.Proxy && !l.options.Inline); err != nil {
			return err
		}
	}
	ports := l.ports()
	if err := errors.Join(l.connectClient(ports[0], ports[1]), connect(ports[3], ports[2])); err != nil {
		return err
	}
	return l.open(ctx, ports[:])
}

// open sets ports up, one step for all before the next.
func (l *Lab) open(ctx context.Context, ports []port) error {
	for _, step := range []func(port) error{
		func(p port) error { return p.open(!l.options.NoOffloads) },
		func(p port) error { return p.await(ctx, hasCarrier) },
		port.address,
		func(p port) error { return p.await(ctx, hasAddresses) },
	} {
		for _, p := range ports {
			if err := step(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// connectClient joins client and proxy.
func (l *Lab) connectClient(client, proxy port) (err error) {
	if l.options.Weather == nil {
		return connect(client, proxy)
	}
	l.cable, err = layCable(client, proxy, *l.options.Weather)
	return err
}

// readLayout looks at the client's addresses.
func (l *Lab) readLayout() (inline bool, err error) {
	err = l.Client.withNetlink(func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(EndInterface)
		if err != nil {
			return fmt.Errorf("interface %s: %w", EndInterface, err)
		}
		addrs, err := nl.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return fmt.Errorf("interface %s: list addresses: %w", EndInterface, err)
		}
		inline = slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(inlineClient[0].Addr().AsSlice()) })
		return nil
	})
	return inline, err
}

// release removes the interfaces and names of hosts and closes them.
func (l *Lab) release(hosts []*Host) error {
	var errs []error
	if l.cable != nil {
		errs = append(errs, l.cable.close())
	}
	for _, p := range l.ports() {
		if p.host.ns == nil || !slices.Contains(hosts, p.host) {
			continue
		}
		// Both ends of a pair go with the first.
		errs = append(errs, p.host.withNetlink(func(nl *netlink.Handle) error {
			link, err := nl.LinkByName(p.name)
			if errors.As(err, &netlink.LinkNotFoundError{}) {
				return nil
			}
			if err == nil {
				err = nl.LinkDel(link)
			}
			if err != nil && !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("remove interface %s: %w", p.name, err)
			}
			return nil
		}))
	}
	if !l.options.Anonymous {
		for _, h := range hosts {
			errs = append(errs, removeNamespace(h.Name))
		}
	}
	return errors.Join(append(errs, l.closeHosts(hosts))...)
}

func (l *Lab) closeHosts(hosts []*Host) error {
	var errs []error
	for _, h := range hosts {
		if h.ns != nil {
			errs = append(errs, h.ns.Close())
		}
	}
	return errors.Join(errs...)
}
