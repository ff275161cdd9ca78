package nfqueue

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Owner names the process that has bound a queue in the calling thread's network
// namespace: "process 123 (promethos)", or by its netlink port where the process
// cannot be seen; "" where nobody has.
func Owner(number uint16) string {
	table, err := os.ReadFile(procQueues)
	if err != nil {
		return ""
	}
	row := procRow(table, number)
	if row == nil {
		return ""
	}
	if p := processOf(row[1]); p != "" {
		return p
	}
	return "netlink port " + row[1]
}

// processOf finds the process with the netfilter socket of a port id.
func processOf(port string) string {
	inode := inodeOf(port)
	if inode == "" {
		return ""
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			return ""
		}
		return "process " + filepath.Base(dir) + " (" + strings.TrimSpace(string(name)) + ")"
	}
	return ""
}

// inodeOf finds a netfilter socket in /proc/net/netlink (af_netlink.c,
// netlink_native_seq_show): sk, protocol, port id, …, inode.
func inodeOf(port string) string {
	table, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) >= 10 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] == port {
			return f[9]
		}
	}
	return ""
}
