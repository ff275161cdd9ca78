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
	port := portOf(number)
	if port == "" {
		return ""
	}
	if dir := processOf(port); dir != "" {
		return named(dir)
	}
	return unseen(port)
}

// portOf is the port id of the socket that has bound a queue; "" where none has.
func portOf(number uint16) string {
	table, err := os.ReadFile(procQueues)
	if err != nil {
		return ""
	}
	row := procRow(table, number)
	if row == nil {
		return ""
	}
	return row[1]
}

// named tells a process by its folder in /proc.
func named(dir string) string {
	text := "process " + filepath.Base(dir)
	if name, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		text += " (" + strings.TrimSpace(string(name)) + ")"
	}
	return text
}

// unseen tells of a process that /proc does not show: it runs in another container,
// or as another user.
func unseen(port string) string { return "a process that is not seen from here, netlink port " + port }

// processOf finds the folder in /proc of the process with the netfilter socket of a
// port id.
func processOf(port string) string {
	inode := inodeOf(port)
	if inode == "" {
		return ""
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return ""
	}
	for _, dir := range dirs {
		if holds(dir, inode) {
			return dir
		}
	}
	return ""
}

// holds reports whether a process has a socket.
func holds(dir, inode string) bool {
	fds, err := filepath.Glob(filepath.Join(dir, "fd/*"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == "socket:["+inode+"]" {
			return true
		}
	}
	return false
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
