package control

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// peerKey is the context key of a connection's peer.
type peerKey struct{}

// peer is who is at the other end of a connection; err is set where the kernel
// does not tell.
type peer struct {
	uid uint32
	pid int32
	err error
}

// withPeer asks the kernel once per connection who connected (SO_PEERCRED,
// unix(7)).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	var p peer
	u, ok := c.(*net.UnixConn)
	if !ok {
		p.err = fmt.Errorf("not a unix socket: %T", c)
		return context.WithValue(ctx, peerKey{}, p)
	}
	raw, err := u.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			var cred *unix.Ucred
			if cred, p.err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); p.err == nil {
				p.uid, p.pid = cred.Uid, cred.Pid
			}
		})
	}
	if err != nil {
		p.err = err
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// mayControl says whether a peer may use the API of a daemon that runs as
// daemonUID: root and the daemon's own user.
func mayControl(p peer, daemonUID int) bool {
	return p.err == nil && (p.uid == 0 || p.uid == uint32(daemonUID))
}

// onlyPeers refuses everyone else, whatever the socket's mode has become.
func onlyPeers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(peer)
		if !ok || !mayControl(p, os.Getuid()) {
			refuse(w, http.StatusForbidden, fmt.Errorf("control socket: user %d may not control this daemon (run as root or as the user that started it)", p.uid))
			return
		}
		next.ServeHTTP(w, r)
	})
}
