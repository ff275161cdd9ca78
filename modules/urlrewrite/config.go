package urlrewrite

import (
	"errors"
	"fmt"
	"strings"

	"github.com/promethos/promethos/modules/http"
)

// Config holds the settings of the user function urlrewrite.
type Config struct {
	// Rules are tried in order; the first one that fits is taken.
	Rules []Rule `conf:"rules"`
	// Bodies says whether URLs in responses' bodies of type text/html, text/css
	// and application/json are rewritten.
	Bodies bool `conf:"bodies"`
	// MaxBody is up to which size in octets.
	MaxBody int `conf:"max_body"`
}

// Rule maps a host and a path prefix that clients see to those of the server.
type Rule struct {
	// Host and Path are what clients see. Host is a name in lowercase without
	// port; Path is a prefix of whole segments, "/" by default.
	Host string `conf:"host"`
	Path string `conf:"path"`
	// ToHost and ToPath are the server's: "" leaves the host, or the path, as it is.
	ToHost string `conf:"to_host"`
	ToPath string `conf:"to_path"`
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.MaxBody < 0 || c.MaxBody > 64<<20 {
		errs = append(errs, fmt.Errorf("max_body: %d is out of range (0 to %d)", c.MaxBody, 64<<20))
	}
	for i := range c.Rules {
		if err := c.Rules[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("rules[%d].%w", i, err))
		}
	}
	return errors.Join(errs...)
}

// check tries the rule's names on an empty request.
func (r *Rule) check() error {
	var try http.Request
	for _, h := range []struct{ key, name string }{{"host", r.Host}, {"to_host", r.ToHost}} {
		if h.name != "" && (!try.SetHost(h.name, 0) || strings.ToLower(h.name) != h.name) {
			return fmt.Errorf("%s: %q is no host in lowercase", h.key, h.name)
		}
	}
	for _, p := range []struct{ key, path string }{{"path", r.Path}, {"to_path", r.ToPath}} {
		if p.path != "" && try.SetTarget(p.path, "") != nil {
			return fmt.Errorf("%s: %q is no path", p.key, p.path)
		}
	}
	switch {
	case r.Host == "" && r.Path == "":
		return errors.New("host: a rule needs a host or a path")
	case r.ToHost == "" && r.ToPath == "":
		return errors.New("to_host: a rule needs a host or a path to lead to")
	case r.ToHost != "" && r.Host == "":
		return errors.New("host: a rule that changes the host names the one that clients see")
	}
	return nil
}
