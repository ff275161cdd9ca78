package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// userNamespaceMark is set in the environment of a program that
// EnterUserNamespace has started, so that it does not try again.
const userNamespaceMark = "PROMETHOS_USER_NAMESPACE"

// ErrUnavailable reports that this process can have no lab. It comes wrapped in
// what is missing and how to get it.
var ErrUnavailable = errors.New("network namespaces cannot be made here")

// needed are the capabilities that a lab takes.
var needed = []struct {
	bit  uint
	name string
}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}, {unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}}

// Available says whether this process can have a lab: nil, or an error that wraps
// ErrUnavailable and names the missing capability.
func Available() error {
	missing, err := missingCapabilities()
	if err != nil {
		return err
	}
	if missing != "" {
		fix := "run it as root"
		if os.Geteuid() == 0 {
			fix = "give the container these capabilities"
		}
		return fmt.Errorf("%w: missing %s (%s)", ErrUnavailable, missing, fix)
	}
	ns, err := newNamespace("")
	if err != nil {
		return fmt.Errorf("%w: %w (a container needs --privileged, or a seccomp profile that allows unshare)", ErrUnavailable, err)
	}
	return ns.Close()
}

func missingCapabilities() (string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // capabilities 0 to 31, then the others
	if err := unix.Capget(&header, &data[0]); err != nil {
		return "", os.NewSyscallError("capget", err)
	}
	var missing []string
	for _, c := range needed {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	return strings.Join(missing, ", "), nil
}

// EnterUserNamespace lets an ordinary user have a lab. Where one can be had as it
// is, it returns ran false. Otherwise it starts the running program again with
// the same arguments, environment and standard files as root of a new user,
// network and mount namespace, waits for it, and returns ran true with its exit
// status (128 plus the number of the signal that ended it); the caller exits with
// that. An error wraps ErrUnavailable and says which setting of the machine is in
// the way. Labs inside have to be Anonymous. SIGINT, SIGTERM and SIGHUP go on to
// the started program; it dies with its parent.
func EnterUserNamespace() (status int, ran bool, err error) {
	unavailable := Available()
	if unavailable == nil {
		return 0, false, nil
	}
	if os.Getenv(userNamespaceMark) != "" {
		return 0, false, fmt.Errorf("%w, although in a user namespace; %s", unavailable, userNamespaceObstacle())
	}
	program, err := os.Executable()
	if err != nil {
		return 0, false, err
	}
	cmd := &exec.Cmd{
		Path: program, Args: os.Args, Env: append(os.Environ(), userNamespaceMark+"=1"),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
			Pdeathsig:   unix.SIGKILL,
		},
	}
	// The death signal is sent when the thread that made the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, false, fmt.Errorf("%w; as an ordinary user: start in a user namespace: %w; %s", unavailable, err, userNamespaceObstacle())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// It may just have ended; Wait says so next.
			_ = cmd.Process.Signal(s)
		case err := <-ended:
			if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
				return 1, true, err
			}
			if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				return 128 + int(ws.Signal()), true, nil
			}
			return cmd.ProcessState.ExitCode(), true, nil
		}
	}
}

// userNamespaceObstacle says which setting keeps ordinary users from having user
// namespaces.
func userNamespaceObstacle() string {
	if _, err := os.Stat("/proc/self/ns/user"); err != nil {
		return "this kernel is built without CONFIG_USER_NS (run as root)"
	}
	for _, s := range []struct {
		path, key string
		blocks    func(n int) bool
		fix       string
	}{
		{"/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone", func(n int) bool { return n == 0 }, "1"},
		{"/proc/sys/user/max_user_namespaces", "user.max_user_namespaces", func(n int) bool { return n == 0 }, "1000"},
		{"/proc/sys/user/max_net_namespaces", "user.max_net_namespaces", func(n int) bool { return n < 4 }, "1000"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "kernel.apparmor_restrict_unprivileged_userns", func(n int) bool { return n != 0 }, "0"},
	} {
		text, err := os.ReadFile(s.path)
		if err != nil {
			continue // not every kernel has each of these
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && s.blocks(n) {
			return fmt.Sprintf("%s is %d (run as root, or have root do: sysctl -w %s=%s)", s.key, n, s.key, s.fix)
		}
	}
	return "no known setting forbids user namespaces, so a container's seccomp profile or a security module does (run as root)"
}
