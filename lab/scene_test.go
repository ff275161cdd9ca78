package lab

import "testing"

// TestScenes plays all triggers where there is no proxy: the twin of each arrives
// under plain forwarding, which shows that only its fault is what it is about.
func TestScenes(t *testing.T) {
	Require(t)
	for s := range sceneProxy {
		t.Run(sceneNames[s], func(t *testing.T) {
			results, err := runScene(t.Context(), s, nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, o := range results {
				t.Logf("%-28s %v, twin %v", name, o.trigger, o.twin)
				if !o.twin && s == sceneForwarding {
					t.Errorf("%s: its twin does not arrive", name)
				}
			}
		})
	}
}

// TestWireScene plays the triggers of a wire through a bridge, which carries them all.
func TestWireScene(t *testing.T) {
	Require(t)
	results, err := runWireScene(t.Context(), sceneForwarding, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range wireTriggers() {
		if o := results[tr.name]; o.trigger != Arrived || !o.twin {
			t.Errorf("%s: %v, twin %v", tr.name, o.trigger, o.twin)
		}
	}
}
