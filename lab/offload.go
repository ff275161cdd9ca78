package lab

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// offloads are the settings that let packets differ from what a wire would
// carry: segments bigger than the MTU and checksums not written yet.
var offloads = []struct {
	name    string
	command uint32
}{
	{"tcp-segmentation-offload", unix.ETHTOOL_STSO},
	{"generic-segmentation-offload", unix.ETHTOOL_SGSO},
	{"generic-receive-offload", unix.ETHTOOL_SGRO},
	{"tx-checksumming", unix.ETHTOOL_STXCSUM},
	{"scatter-gather", unix.ETHTOOL_SSG},
}

// ethtoolValue is struct ethtool_value, ethtoolRequest struct ifreq with a
// pointer (linux/ethtool.h, linux/if.h).
type ethtoolValue struct{ command, value uint32 }

type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// disableOffloads works on an interface of the calling thread's namespace.
func disableOffloads(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for _, o := range offloads {
		request := ethtoolRequest{data: unsafe.Pointer(&ethtoolValue{command: o.command})}
		copy(request.name[:unix.IFNAMSIZ-1], name)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("interface %s: turn off %s: %w", name, o.name, errno)
		}
	}
	return nil
}
