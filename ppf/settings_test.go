package ppf

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// color decodes itself from text.
type color uint8

func (c *color) UnmarshalText(b []byte) error {
	for i, name := range []string{"red", "green"} {
		if name == string(b) {
			*c = color(i + 1)
			return nil
		}
	}
	return errors.New("a color is red or green")
}

// pair decodes itself from a Value.
type pair struct{ a, b string }

func (p *pair) UnmarshalValue(v Value) error {
	switch {
	case v.Kind == ValueScalar:
		return errors.New("a pair has two parts")
	case len(v.List) != 2:
		return DecodeError{{Pos: v.Pos, Path: "[2]", What: "one too many"}, {Pos: v.Pos, Path: "count", What: "wrong"}}
	}
	p.a, p.b = v.List[0].Scalar, v.List[1].Scalar
	return nil
}

type inner struct {
	Low  int8 `conf:"low"`
	High int8 `conf:"high"`
}

func (i *inner) Validate() error {
	if i.Low > i.High {
		return errors.Join(errors.New("low is above high"), errors.New("nothing fits"))
	}
	return nil
}

type everything struct {
	Text    string            `conf:"text"`
	Yes     bool              `conf:"yes"`
	Small   uint8             `conf:"small"`
	Signed  int16             `conf:"signed"`
	Time    time.Duration     `conf:"time"`
	Net     netip.Prefix      `conf:"net"`
	Addr    netip.Addr        `conf:"addr"`
	Color   color             `conf:"color"`
	List    []uint16          `conf:"list"`
	Nets    []netip.Prefix    `conf:"nets"`
	Map     map[string]string `conf:"map"`
	Inner   inner             `conf:"inner"`
	Inners  []inner           `conf:"inners"`
	Pair    pair              `conf:"pair"`
	Raw     Value             `conf:"raw"`
	Private int
}

func scalar(s string) Value { return Value{Kind: ValueScalar, Scalar: s} }

func list(items ...Value) Value { return Value{Kind: ValueList, List: items} }

// mapOf takes keys and values in turn.
func mapOf(kv ...any) Value {
	v := Value{Kind: ValueMap}
	for i := 0; i < len(kv); i += 2 {
		item, ok := kv[i+1].(Value)
		if !ok {
			item = scalar(kv[i+1].(string))
		}
		v.Map = append(v.Map, KeyValue{Key: kv[i].(string), Value: item})
	}
	return v
}

func TestDecode(t *testing.T) {
	raw := list(scalar("as"), scalar("it is"))
	got := everything{Text: "default", Private: 3, Inner: inner{Low: -5}}
	problems := Decode(&got, mapOf(
		"yes", "true", "small", "255", "signed", "-32768", "time", "1m30s",
		"net", "192.0.2.0/24", "addr", "2001:db8::1", "color", "green",
		"list", list(scalar("1"), scalar("65535")), "nets", "203.0.113.7",
		"map", mapOf("k", "v", "l", "w"), "inner", mapOf("high", "7"),
		"inners", list(mapOf("low", "1", "high", "1"), Value{}), "pair", list(scalar("x"), scalar("y")), "raw", raw,
	), "")
	want := everything{
		Text: "default", Private: 3, Yes: true, Small: 255, Signed: -32768, Time: 90 * time.Second,
		Net: netip.MustParsePrefix("192.0.2.0/24"), Addr: netip.MustParseAddr("2001:db8::1"), Color: 2,
		List: []uint16{1, 65535}, Nets: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")},
		Map: map[string]string{"k": "v", "l": "w"}, Inner: inner{-5, 7}, Inners: []inner{{1, 1}, {}}, Pair: pair{"x", "y"}, Raw: raw,
	}
	if len(problems) != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, problems, want)
	}
}

func TestDecodeProblems(t *testing.T) {
	tests := []struct {
		name string
		v    Value
		want []string // each problem as it is printed
	}{
		{"not a map", scalar("x"), []string{"s: it is a value where a map belongs (write `name: value` lines)"}},
		{"list for a map", mapOf("map", list()), []string{"s.map: it is a list where a map belongs (write `name: value` lines)"}},
		{"map for a value", mapOf("small", mapOf()), []string{"s.small: it is a map where one value belongs (write one value)"}},
		{"nothing for a value", mapOf("text", Value{}), []string{"s.text: it is nothing where one value belongs (write one value)"}},
		{"misspelt key", mapOf("smal", "1"), []string{`s.smal: unknown key "smal" (did you mean "small"?)`}},
		{"unknown key", mapOf("inner", mapOf("medium", "1")), []string{`s.inner.medium: unknown key "medium" (known here: low, high)`}},
		{"untagged field", mapOf("Private", "1"), []string{`s.Private: unknown key "Private"`}},
		{"truth", mapOf("yes", "maybe"), []string{`s.yes: "maybe" is not a truth value (write true or false)`}},
		{"unsigned", mapOf("small", "256"), []string{`s.small: "256" is not a number in range (write a whole number from 0 to 255)`}},
		{"negative", mapOf("small", "-1"), []string{`s.small: "-1" is not a number in range`}},
		{"signed", mapOf("signed", "32768"), []string{`s.signed: "32768" is not a number in range (write a whole number)`}},
		{"duration", mapOf("time", "30"), []string{`s.time: "30" is not a duration (write a number with a unit, such as 30s, 5m or 2h)`}},
		{"network", mapOf("net", "192.0.2.1/24"), []string{`s.net: "192.0.2.1/24" has host bits set; the network is 192.0.2.0/24`}},
		{"no network", mapOf("net", "server"), []string{`s.net: "server" is not an address or network`}},
		{"text", mapOf("color", "blue"), []string{"s.color: a color is red or green"}},
		{"in a list", mapOf("list", list(scalar("1"), scalar("x"), scalar("y"))), []string{`s.list[1]: "x" is not a number`, `s.list[2]: "y" is not a number`}},
		{"one for a list", mapOf("list", "x"), []string{`s.list: "x" is not a number`}},
		{"validation", mapOf("inner", mapOf("low", "2", "high", "1")), []string{"s.inner: low is above high", "s.inner: nothing fits"}},
		{"no validation of what is wrong", mapOf("inner", mapOf("low", "2", "high", "x")), []string{`s.inner.high: "x" is not a number`}},
		{"decodes itself", mapOf("pair", "x"), []string{"s.pair: a pair has two parts"}},
		{"decodes itself, with places", mapOf("pair", list()), []string{"s.pair[2]: one too many", "s.pair.count: wrong"}},
		{"all at once", mapOf("yes", "x", "no", "x", "time", "x", "small", "1"), []string{"s.yes: ", "s.no: ", "s.time: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got everything
			problems := Decode(&got, tt.v, "s")
			if len(problems) != len(tt.want) {
				t.Fatalf("problems %v, want %q", problems, tt.want)
			}
			for i, p := range problems {
				if !strings.HasPrefix(p.Error(), tt.want[i]) {
					t.Errorf("problem %q, want %q", p.Error(), tt.want[i])
				}
			}
		})
	}
}

// TestDecodePositions: every problem says where it stands.
func TestDecodePositions(t *testing.T) {
	at := func(line, col int) Pos { return Pos{"p.yaml", line, col} }
	v := Value{Kind: ValueMap, Pos: at(1, 1), Map: []KeyValue{
		{Pos: at(2, 3), Key: "smal", Value: Value{Pos: at(2, 9), Kind: ValueScalar, Scalar: "1"}},
		{Pos: at(3, 3), Key: "list", Value: Value{Pos: at(3, 9), Kind: ValueList, List: []Value{{Pos: at(3, 11), Kind: ValueScalar, Scalar: "x"}}}},
	}}
	var got everything
	err := DecodeSettings(&got, v, "modules.m")
	var problems DecodeError
	if !errors.As(err, &problems) || len(problems) != 2 || problems[0].Pos != at(2, 3) || problems[1].Pos != at(3, 11) {
		t.Fatalf("problems %v", err)
	}
	want := "p.yaml:2:3: modules.m.smal: unknown key \"smal\" (did you mean \"small\"?)\np.yaml:3:11: modules.m.list[0]: "
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	if err := DecodeSettings(&got, mapOf("text", "a"), ""); err != nil {
		t.Errorf("good settings: %v", err)
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.0/24": "192.0.2.0/24", "2001:db8::1": "2001:db8::1/128", "2001:db8::/32": "2001:db8::/32",
		"0.0.0.0/0": "0.0.0.0/0", "192.0.2.1/31": "", "fe80::1%eth0": "", "::ffff:192.0.2.1": "", "::ffff:192.0.2.0/120": "", "192.0.2": "", "": "", "192.0.2.0/33": "",
	} {
		got, err := ParsePrefix(in)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v; want %q", in, got, err, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"established", "closing", "closed"}
	for in, want := range map[string]string{
		"closng": `did you mean "closing"?`, "close": `did you mean "closed"?`, "Established": `did you mean "established"?`,
		"zzzzzz": "known here: established, closing, closed",
	} {
		if got := Suggest(in, known); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := Suggest("zzzzzz", make([]string, maxListed+1)); got != "" {
		t.Errorf("a long list is spelled out: %q", got)
	}
}

func TestValueEqual(t *testing.T) {
	a := mapOf("k", list(scalar("1"), mapOf("l", "2")))
	b := mapOf("k", list(scalar("1"), mapOf("l", "2")))
	b.Pos, b.Map[0].Pos = Pos{"f", 1, 1}, Pos{"f", 1, 2}
	if !a.Equal(b) {
		t.Error("the same value at another place is not equal")
	}
	for _, other := range []Value{{}, scalar("k"), mapOf("k", list(scalar("1"))), mapOf("j", a.Map[0].Value), mapOf("k", list(scalar("1"), mapOf("l", "3")))} {
		if a.Equal(other) {
			t.Errorf("equal to %+v", other)
		}
	}
}
