package rules

import (
	"slices"
	"testing"

	"github.com/promethos/promethos/lab"
)

// TestSilence makes and ends the silence of two interfaces, twice each: a daemon
// that starts after a crash finds the table there.
func TestSilence(t *testing.T) {
	lab.Require(t)
	l, err := lab.Up(t.Context(), lab.Options{Anonymous: true, Inline: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	var s *Silence
	if err := l.Proxy.Do(func() (err error) {
		s, err = OpenSilence()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := func(ports ...string) {
		t.Helper()
		got, err := s.Ports()
		slices.Sort(got)
		if err != nil || !slices.Equal(got, ports) {
			t.Errorf("silenced at %v, %v, want %v", got, err, ports)
		}
	}
	want()
	for range 2 {
		for _, p := range []string{lab.ClientInterface, lab.ServerInterface} {
			if err := s.Add(p); err != nil {
				t.Fatal(err)
			}
		}
		want(lab.ClientInterface, lab.ServerInterface)
	}
	if err := s.Keep([]string{lab.ServerInterface}); err != nil {
		t.Fatal(err)
	}
	want(lab.ServerInterface)
	for range 2 {
		if err := s.Keep(nil); err != nil {
			t.Fatal(err)
		}
		want()
	}
}
