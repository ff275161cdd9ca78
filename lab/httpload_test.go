package lab

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestLoadHTTP(t *testing.T) {
	l := up(t, Options{})
	s, err := l.Server.StartPages(t.Context(), net.JoinHostPort(l.Server.IPv4.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []HTTPLoad{{Path: "/"}, {Path: "/", Fresh: true}, {Path: "/big"}} {
		o.Connections, o.Duration = 2, 50*time.Millisecond
		got, err := l.Client.LoadHTTP(t.Context(), s.Addr, o)
		if err != nil || got.Requests == 0 || got.P50 <= 0 || got.P99 < got.P50 {
			t.Errorf("LoadHTTP(%+v): got %+v, %v", o, got, err)
		}
		want := int64(got.Requests) * int64(len("hello, world\n"))
		if o.Path == "/big" {
			want = int64(got.Requests) * BigPage
		}
		if got.Octets != want {
			t.Errorf("LoadHTTP(%+v): %d octets of bodies in %d answers, want %d", o, got.Octets, got.Requests, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Client.LoadHTTP(t.Context(), s.Addr, HTTPLoad{Path: "/", Connections: 1, Duration: time.Millisecond}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a server that is gone: got %v", err)
	}
}
