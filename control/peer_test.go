package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMayControl(t *testing.T) {
	for _, tt := range []struct {
		peer   peer
		daemon int
		want   bool
	}{
		{peer{uid: 0}, 0, true},
		{peer{uid: 0}, 990, true},
		{peer{uid: 990}, 990, true},
		{peer{uid: 1000}, 990, false},
		{peer{uid: 1000}, 0, false},
		{peer{err: errors.New("the kernel does not tell")}, 0, false},
	} {
		if got := mayControl(tt.peer, tt.daemon); got != tt.want {
			t.Errorf("mayControl(%+v, %d) = %v", tt.peer, tt.daemon, got)
		}
	}
}

// TestPeer: the kernel says who connected; a socket that cannot is refused.
func TestPeer(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p := withPeer(context.Background(), server).Value(peerKey{}).(peer)
	if p.err != nil || p.uid != uint32(os.Getuid()) || p.pid != int32(os.Getpid()) {
		t.Errorf("peer %+v, want user %d and process %d", p, os.Getuid(), os.Getpid())
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a stranger got through") })
	for _, ctx := range []context.Context{withPeer(t.Context(), a), t.Context(), context.WithValue(t.Context(), peerKey{}, peer{uid: uint32(os.Getuid()) + 1})} {
		w := httptest.NewRecorder()
		onlyPeers(next).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/v1/status", nil))
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "may not control this daemon") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}
