package host

import (
	"slices"
	"strings"
	"testing"

	"github.com/promethos/promethos/ppf"
)

func TestReadLosses(t *testing.T) {
	list, err := readSNMP(strings.NewReader("Ip: Forwarding DefaultTTL InReceives InHdrErrors ReasmFails\nIp: 1 64 99 7 3\nTcp: InHdrErrors\nTcp: 5\n"))
	if want := []ppf.KernelLoss{{Family: "ipv4", Counter: "InHdrErrors", Count: 7}, {Family: "ipv4", Counter: "ReasmFails", Count: 3}}; err != nil || !slices.Equal(list, want) {
		t.Errorf("%v, %v; want %v", list, err, want)
	}
	list, err = readSNMP6(strings.NewReader("Ip6InReceives \t 9\nIp6InHdrErrors \t 4\nIcmp6InErrors 1\nIp6ReasmTimeout 2\n"))
	if want := []ppf.KernelLoss{{Family: "ipv6", Counter: "InHdrErrors", Count: 4}, {Family: "ipv6", Counter: "ReasmTimeout", Count: 2}}; err != nil || !slices.Equal(list, want) {
		t.Errorf("%v, %v; want %v", list, err, want)
	}
	if list, err := readSNMP(strings.NewReader("Ip: InHdrErrors\nIp: x\n")); err == nil {
		t.Errorf("a number that is none: %v", list)
	}
	if list, err := readSNMP6(strings.NewReader("Ip6InHdrErrors x\n")); err == nil {
		t.Errorf("a number that is none: %v", list)
	}
	if list, err := readSNMP(strings.NewReader("Ip: InHdrErrors ReasmFails\nIp: 1\n")); err != nil || len(list) != 1 {
		t.Errorf("a short line: %v, %v", list, err)
	}
}

// TestKernelLosses reads this machine's.
func TestKernelLosses(t *testing.T) {
	list, err := KernelLosses()
	if err != nil || !slices.ContainsFunc(list, func(l ppf.KernelLoss) bool { return l.Family == "ipv4" && l.Counter == "InHdrErrors" }) {
		t.Errorf("%v, %v", list, err)
	}
}
