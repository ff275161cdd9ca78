package ppf

import (
	"slices"
	"strings"
	"testing"
)

func TestParseConfigString(t *testing.T) {
	tests := []struct {
		in   string
		want ConfigString
		err  string
	}{
		{"cs 2 tcp.", ConfigString{Layer: 2, Functions: []string{"tcp"}}, ""},
		{"cs 3 func1,func3.", ConfigString{Layer: 3, Functions: []string{"func1", "func3"}}, ""},
		{"sc 5 func2.", ConfigString{Dir: ServerToClient, Instance: 5, Functions: []string{"func2"}}, ""},
		{"  cs  7  a , b ,c . ", ConfigString{Layer: 7, Functions: []string{"a", "b", "c"}}, ""},
		{"cs 2 tcp", ConfigString{}, "the dot at its end is missing"},
		{"cs 2 tcp. x", ConfigString{}, `"x" follows the dot`},
		{"cs 2 tcp..", ConfigString{}, `"." follows the dot`},
		{"", ConfigString{}, "the dot at its end is missing"},
		{".", ConfigString{}, "it is empty"},
		{"xs 2 tcp.", ConfigString{}, `it starts with "xs"`},
		{"tcp cs 2.", ConfigString{}, `it starts with "tcp"`},
		{"cs.", ConfigString{}, "the layer and the functions are missing"},
		{"sc.", ConfigString{}, "the instance number and the functions are missing"},
		{"cs tcp 2.", ConfigString{}, `"tcp" stands where the layer belongs`},
		{"sc tcp 2.", ConfigString{}, `"tcp" stands where the instance number belongs`},
		{"cs tcp.", ConfigString{}, `"tcp" stands where the layer belongs`},
		{"cs 1 tcp.", ConfigString{}, "layer 1 is out of range, 2 to 7"},
		{"cs 8 tcp.", ConfigString{}, "layer 8 is out of range, 2 to 7"},
		{"cs 99999999999 tcp.", ConfigString{}, "layer 99999999999 is out of range"},
		{"cs -2 tcp.", ConfigString{}, `"-2" stands where the layer belongs`},
		{"sc 0 tcp.", ConfigString{}, "instance number 0 is out of range"},
		{"sc 4294967296 tcp.", ConfigString{}, "instance number 4294967296 is out of range"},
		{"cs 2.", ConfigString{}, "the functions are missing"},
		{"cs 2 ,.", ConfigString{}, "function 1 has no name"},
		{"cs 2 a,,b.", ConfigString{}, "function 2 has no name"},
		{"cs 2 a b.", ConfigString{}, "the functions are not separated by commas"},
		{"cs 2 a=b.", ConfigString{}, `"a=b" is not the name of a function`},
		{"cs 2 \xe3 \x80\x80,0.", ConfigString{}, "is not the name of a function"},
		{"cs 2 a,b,a.", ConfigString{}, `function "a" stands twice`},
	}
	for _, tt := range tests {
		got, err := ParseConfigString(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "write `cs <layer>") {
				t.Errorf("%q: error %v, want %q with the way to write it", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || got.Dir != tt.want.Dir || got.Layer != tt.want.Layer || got.Instance != tt.want.Instance || !slices.Equal(got.Functions, tt.want.Functions) {
			t.Errorf("%q: got %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
		if again, err := ParseConfigString(got.String()); err != nil || again.String() != got.String() {
			t.Errorf("%q: written as %q, read again as %+v, %v", tt.in, got, again, err)
		}
	}
}

func FuzzParseConfigString(f *testing.F) {
	f.Add("cs 2 tcp,udp.")
	f.Add("sc 17 tcp .")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseConfigString(s)
		if err != nil {
			return
		}
		again, err := ParseConfigString(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q: written as %q, read again: %v", s, c, err)
		}
	})
}
