package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/promethos/promethos/lab"
)

// kernelBridge is the baseline's name on a wire.
const kernelBridge = "kernel bridge"

// wireAndBridge builds two inline labs, with the proxy and with a bridge of the kernel
// in the middle. The caller closes both, after an error too.
func wireAndBridge(ctx context.Context, program string) (wire, bridge *site, err error) {
	bridge, err = openSite(ctx, lab.Options{Anonymous: true, Inline: true}, func(s *site) error {
		return s.lab.Proxy.Bridge(lab.ClientInterface, lab.ServerInterface)
	})
	if err != nil {
		return nil, nil, err
	}
	wire, err = openSite(ctx, lab.Options{Anonymous: true, Inline: true}, func(s *site) (err error) {
		s.proxy, err = s.lab.Proxy.StartProxy(ctx, program, fmt.Sprintf(`version: 1
instances:
  - name: bench
    source: inline
    inline: {client: %s, server: %s}
    chain: [arp, tcp, pass]
`, lab.ClientInterface, lab.ServerInterface))
		return err
	})
	if err != nil {
		wire = nil // it has been closed
	}
	return wire, bridge, err
}

// inline compares the proxy as a bump in the wire with a bridge of the kernel in
// its place.
func inline(ctx context.Context, o Options) (r *Result, err error) {
	r = &Result{Bench: "inline"}
	wire, bridge, err := wireAndBridge(ctx, o.Program)
	defer func() { err = errors.Join(err, wire.close(), bridge.close()) }()
	if err != nil {
		return r, err
	}
	for _, row := range []struct {
		name string
		bulk lab.BulkOptions
	}{
		{"tcp, 1 stream up", lab.BulkOptions{Duration: o.Duration}},
		{"tcp, 1 stream down", lab.BulkOptions{Duration: o.Duration, Reverse: true}},
		{"tcp, 4 streams up", lab.BulkOptions{Duration: o.Duration, Streams: 4}},
		{"tcp, 4 streams down", lab.BulkOptions{Duration: o.Duration, Streams: 4, Reverse: true}},
	} {
		done, err := measure(Row{Name: row.name, Against: kernelBridge, Unit: "bit/s"}, o.Runs, wire.throughput(ctx, row.bulk), bridge.throughput(ctx, row.bulk))
		if err != nil {
			return r, err
		}
		r.Rows = append(r.Rows, done)
	}
	small, err := measure(Row{Name: "pass, small packets", Against: kernelBridge, Unit: "1/s"}, o.Runs, wire.packets(ctx, o.Duration), bridge.packets(ctx, o.Duration))
	if err != nil {
		return r, err
	}
	r.Rows = append(r.Rows, small)
	return r, nil
}
