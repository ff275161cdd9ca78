package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/promethos/promethos/ppf"
)

// losses are the kernel's counters of packets that it drops before hooks, or
// while it puts fragments together (RFC 4293; net/ipv4/proc.c names them).
var losses = []string{"InHdrErrors", "InAddrErrors", "InDiscards", "InTruncatedPkts", "ReasmFails", "ReasmTimeout"}

// KernelLosses reads them in the network namespace of the calling thread. A kernel
// without IPv6 has none of its counters.
func KernelLosses() ([]ppf.KernelLoss, error) {
	list := []ppf.KernelLoss{}
	for _, f := range []struct {
		path string
		read func(io.Reader) ([]ppf.KernelLoss, error)
	}{{"/proc/thread-self/net/snmp", readSNMP}, {"/proc/thread-self/net/snmp6", readSNMP6}} {
		file, err := os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("kernel losses: %w", err)
		}
		more, err := f.read(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("kernel losses: %s: %w", f.path, err)
		}
		list = append(list, more...)
	}
	return list, nil
}

// readSNMP reads pairs of lines: names, and numbers in the same order.
func readSNMP(r io.Reader) (list []ppf.KernelLoss, err error) {
	var names []string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) == 0 || f[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if i >= len(f) || !slices.Contains(losses, name) {
				continue
			}
			n, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			list = append(list, ppf.KernelLoss{Family: "ipv4", Counter: name, Count: n})
		}
	}
	return list, nil
}

// readSNMP6 reads one name and number per line.
func readSNMP6(r io.Reader) (list []ppf.KernelLoss, err error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != 2 {
			continue
		}
		name, ip := strings.CutPrefix(f[0], "Ip6")
		if !ip || !slices.Contains(losses, name) {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, ppf.KernelLoss{Family: "ipv6", Counter: name, Count: n})
	}
	return list, nil
}
