package lab

import (
	"net"
	"testing"
)

// TestWeather wants transfers to arrive over a cable that loses, repeats and swaps
// segments, which shows that it does.
func TestWeather(t *testing.T) {
	Require(t)
	l, err := Up(t.Context(), Options{Anonymous: true, Weather: &Weather{Seed: 1, Lose: 20, Repeat: 20, Swap: 20}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Server.StartHTTP(t.Context(), "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Addr)
	for _, network := range []string{"tcp4", "tcp6"} {
		at := &HTTPServer{Addr: net.JoinHostPort(l.Server.Addr(network).String(), port)}
		if _, err := l.Client.Download(t.Context(), at.DataURL(500_000, 1)); err != nil {
			t.Errorf("%s: %v", network, err)
		}
		if _, err := l.Client.Upload(t.Context(), at.UploadURL(), 500_000, 2); err != nil {
			t.Errorf("%s: %v", network, err)
		}
	}
	if w := l.Weather(); w.Lost == 0 || w.Repeated == 0 || w.Swapped == 0 {
		t.Errorf("the weather was fine: %+v", w)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Down(); err != nil {
		t.Error(err)
	}
}
