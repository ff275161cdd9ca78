package headers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/promethos/promethos/modules/http"
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
		BindMessage: func(b ppf.Binding) (any, error) { return newFunction(b.Settings.(*Config)), nil },
	})
}

func (*module) Stop(context.Context) error { return nil }

// Config holds the settings of the user function headers. For one message the
// fields to keep come first, then those to remove, then those to set.
type Config struct {
	// AllowRequest and AllowResponse keep only the named fields; empty: all.
	AllowRequest  []string `conf:"allow_request"`
	AllowResponse []string `conf:"allow_response"`
	// RemoveRequest and RemoveResponse remove fields.
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
type function struct{ request, response rules }

// rules are what is done to one kind of message.
type rules struct {
	allow  map[string]bool // in lowercase; nil: all
	remove []string
	set    [][2]string
}

func newFunction(c *Config) *function {
	return &function{
		newRules(c.AllowRequest, c.RemoveRequest, c.SetRequest),
		newRules(c.AllowResponse, c.RemoveResponse, c.SetResponse),
	}
}

func newRules(allow, remove []string, set map[string]string) rules {
	r := rules{remove: remove}
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

func (f *function) Request(x *http.Exchange)  { f.request.apply(&x.Request.Header) }
func (f *function) Response(x *http.Exchange) { f.response.apply(&x.Response.Header) }

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
