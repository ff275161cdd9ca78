package control

import (
	"context"
	"strings"
	"testing"
)

// TestAdditions: instances stay as long as the client that made them, whether it
// takes them back or goes away.
func TestAdditions(t *testing.T) {
	b, c, _ := start(t)
	ctx := t.Context()
	a, err := c.Add(ctx, "one")
	if err != nil || a.Result.Changes[0] != "add one" {
		t.Fatalf("%+v, %v", a, err)
	}
	if r, err := a.Change(ctx, "two"); err != nil || r.Changes[0] != "change 1 to two" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if id := <-b.removed; id != 1 {
		t.Errorf("removed %d", id)
	}
	gone, leave := context.WithCancel(ctx)
	if a, err = c.Add(gone, "three"); err != nil {
		t.Fatal(err)
	}
	if id := <-b.removed; id != 1 { // the connection of the first ends too
		t.Errorf("removed %d", id)
	}
	leave()
	<-a.Ended()
	if id := <-b.removed; id != 2 {
		t.Errorf("removed %d", id)
	}
	if a, err = c.Add(ctx, "wrong"); err != nil || len(a.Result.Problems) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	<-a.Ended() // nothing was made, and nothing is kept open
}

// TestAdditionsRefused: who cannot be answered well is told.
func TestAdditionsRefused(t *testing.T) {
	_, c, _ := start(t)
	for _, tt := range []struct{ method, path, body, want string }{
		{"POST", "additions", "text", "request"},
		{"PUT", "additions/x", "text", "is not a number"},
		{"DELETE", "additions/x", "text", "is not a number"},
	} {
		if err := c.do(t.Context(), tt.method, tt.path, tt.body, &struct{}{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
		}
	}
}
