package headers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "headers", Version: "1.0.0", Doc: "sets, removes and keeps fields of HTTP messages",
		Functions: []string{"headers"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "headers", Doc: "sets, removes and keeps fields of HTTP messages",
		Level: ppf.LevelMessage, Layer: 7,
		Settings:    func() any { return &Config{} },
		BindMessage: func(b ppf.Binding) (any, error) { return newFunction(b.Settings.(*Config), host.Data) },
	})
}

func (*module) Stop(context.Context) error { return nil }

// Config holds the settings of the user function headers. For one message the
// fields to keep come first, then those to remove, then those to set.
type Config struct {
	// AllowRequest and AllowResponse keep only the named fields; empty: all.
	AllowRequest  []string `conf:"allow_request"`
	AllowResponse []string `conf:"allow_response"`
	// RemoveRequest and RemoveResponse remove fields. @NAME stands for the words of
	// the data module NAME, in lowercase.
	RemoveRequest  []string `conf:"remove_request"`
	RemoveResponse []string `conf:"remove_response"`
	// SetRequest and SetResponse set fields, in place of what is there.
	SetRequest  map[string]string `conf:"set_request"`
	SetResponse map[string]string `conf:"set_response"`
}

// Validate joins everything that is wrong: names and values are tried on an
// empty message.
func (c *Config) Validate() error {
	var errs []error
	for _, l := range []struct {
		key  string
		list []string
	}{
		{"allow_request", c.AllowRequest}, {"allow_response", c.AllowResponse},
		{"remove_request", c.RemoveRequest}, {"remove_response", c.RemoveResponse},
		{"set_request", slices.Sorted(maps.Keys(c.SetRequest))}, {"set_response", slices.Sorted(maps.Keys(c.SetResponse))},
	} {
		for _, name := range l.list {
			if (l.key == "remove_request" || l.key == "remove_response") && isSet(name) {
				continue
			}
			value := "x"
			switch l.key {
			case "set_request":
				value = c.SetRequest[name]
			case "set_response":
				value = c.SetResponse[name]
			}
			var h http.Header
			if err := h.Set(name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", l.key, err))
			}
		}
	}
	return errors.Join(errs...)
}

// function is headers for one proxy instance.
type function struct {
	request, response rules
	data              func(name string) *ppf.Data
}

// ReasonNoData is a message whose fields cannot be judged.
var ReasonNoData = packet.NewReason("headers", ppf.ReasonInfo{Name: "headers.no-data", Field: "http.head", RFC: "9110 §15.6.4",
	Doc:   "a data module that says which fields to remove is not loaded any more",
	Trips: "every message, after `promethos module unload` of that data module", Relax: "promethos module load"})

// rules are what is done to one kind of message.
type rules struct {
	allow  map[string]bool // in lowercase; nil: all
	remove []string
	sets   []string // names of data modules, whose words are fields to remove
	set    [][2]string
}

// isSet reports whether an entry stands for a data module's words.
func isSet(entry string) bool { return len(entry) > 1 && entry[0] == '@' }

func newFunction(c *Config, data func(name string) *ppf.Data) (*function, error) {
	f := &function{
		newRules(c.AllowRequest, c.RemoveRequest, c.SetRequest),
		newRules(c.AllowResponse, c.RemoveResponse, c.SetResponse),
		data,
	}
	for _, name := range slices.Concat(f.request.sets, f.response.sets) {
		if data(name) == nil {
			return nil, fmt.Errorf("@%s: no data module of that name is loaded (put %s.data.json into a folder of module_dirs)", name, name)
		}
	}
	return f, nil
}

func newRules(allow, remove []string, set map[string]string) rules {
	r := rules{}
	for _, name := range remove {
		if isSet(name) {
			r.sets = append(r.sets, name[1:])
		} else {
			r.remove = append(r.remove, name)
		}
	}
	for _, name := range allow {
		if r.allow == nil {
			r.allow = map[string]bool{}
		}
		r.allow[strings.ToLower(name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		r.set = append(r.set, [2]string{name, set[name]})
	}
	return r
}

// UsesData reports whether a data module lists fields to remove.
func (f *function) UsesData(name string) bool {
	return slices.Contains(f.request.sets, name) || slices.Contains(f.response.sets, name)
}

func (f *function) Request(x *http.Exchange)  { f.apply(x, &f.request, &x.Request.Header) }
func (f *function) Response(x *http.Exchange) { f.apply(x, &f.response, &x.Response.Header) }

func (f *function) apply(x *http.Exchange, r *rules, h *http.Header) {
	for _, name := range r.sets {
		d := f.data(name)
		if d == nil {
			x.Refuse(ReasonNoData, 503)
			return
		}
		removeWords(h, d)
	}
	r.apply(h)
}

// removeWords removes the fields whose names are words of a set.
func removeWords(h *http.Header, d *ppf.Data) {
	var room [64]byte
	for i := h.Len() - 1; i >= 0; i-- {
		name := bytes.ToLower(h.At(i).AppendName(room[:0]))
		if d.HasWord(name) {
			h.Del(string(name))
			i = min(i, h.Len())
		}
	}
}

func (r *rules) apply(h *http.Header) {
	if r.allow != nil {
		var gone []string
		for name := range h.All() {
			if !r.allow[strings.ToLower(name)] {
				gone = append(gone, name)
			}
		}
		for _, name := range gone {
			h.Del(name)
		}
	}
	for _, name := range r.remove {
		h.Del(name)
	}
	for _, s := range r.set {
		// Validate has tried it: it cannot fail.
		_ = h.Set(s[0], s[1])
	}
}
