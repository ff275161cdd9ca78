package signatures

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/packet"
	"github.com/promethos/promethos/ppf"
)

// signature is one pattern.
type signature struct {
	name    string
	subject string // "path", "query", "method", "host", "any-field" or "field"
	field   string
	tests   []func(string) bool
	count   bool // it is counted and refuses nothing
	match   []string
	noMatch []string
	reason  ppf.Reason
}

// fits says whether all conditions hold for a value.
func (s *signature) fits(v string) bool {
	for _, t := range s.tests {
		if !t(v) {
			return false
		}
	}
	return true
}

// find looks for a value of the request that fits.
func (s *signature) find(r *http.Request) bool {
	switch s.subject {
	case "path":
		return s.fits(r.Path())
	case "query":
		return s.fits(r.Query())
	case "method":
		return s.fits(r.Method())
	case "host":
		return s.fits(r.Host())
	}
	for name, value := range r.All() {
		if (s.subject == "any-field" || strings.EqualFold(name, s.field)) && s.fits(value) {
			return true
		}
	}
	return false
}

// parseFile reads a whole file; the error joins everything that is wrong, an
// example that does not hold too.
func parseFile(name, text string) ([]*signature, error) {
	var list []*signature
	var errs []error
	fail := func(line int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: %s", name, line, fmt.Sprintf(format, args...)))
	}
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		line = strings.TrimRight(line, " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		if !ok {
			fail(n, "%q is no `key: value` line", line)
			continue
		}
		if key == "signature" {
			if strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || value == "" || value[0] == '-' || value[len(value)-1] == '-' {
				fail(n, "%q is no name (lowercase letters, digits and hyphens)", value)
			}
			if slices.ContainsFunc(list, func(s *signature) bool { return s.name == value }) {
				fail(n, "signature %s is there already", value)
			}
			list = append(list, &signature{name: value})
			continue
		}
		if len(list) == 0 {
			fail(n, "%s stands before the first signature", key)
			continue
		}
		if err := list[len(list)-1].line(key, value); err != nil {
			fail(n, "%v", err)
		}
	}
	for _, s := range list {
		errs = append(errs, s.check(name)...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, s := range list {
		s.reason = reasonOf(s.name)
	}
	return list, nil
}

// line takes one line of a signature.
func (s *signature) line(key, value string) error {
	add := func(t func(string) bool) { s.tests = append(s.tests, t) }
	switch key {
	case "in":
		s.subject, s.field, _ = strings.Cut(value, " ")
		known := []string{"path", "query", "method", "host", "any-field", "field"}
		if !slices.Contains(known, s.subject) || (s.subject == "field") != (s.field != "") {
			return fmt.Errorf("in: %q is none of path, query, method, host, any-field, `field NAME`", value)
		}
	case "equals":
		add(func(v string) bool { return v == value })
	case "contains":
		add(func(v string) bool { return strings.Contains(v, value) })
	case "contains-fold":
		low := strings.ToLower(value)
		add(func(v string) bool { return strings.Contains(strings.ToLower(v), low) })
	case "prefix":
		add(func(v string) bool { return strings.HasPrefix(v, value) })
	case "suffix":
		add(func(v string) bool { return strings.HasSuffix(v, value) })
	case "matches":
		re, err := regexp.Compile(value)
		if err != nil {
			return fmt.Errorf("matches: %w", err)
		}
		add(re.MatchString)
	case "longer":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("longer: %q is no number of octets", value)
		}
		add(func(v string) bool { return len(v) > n })
	case "action":
		if value != "refuse" && value != "count" {
			return fmt.Errorf("action: %q is neither refuse nor count", value)
		}
		s.count = value == "count"
	case "must-match":
		s.match = append(s.match, value)
	case "must-not-match":
		s.noMatch = append(s.noMatch, value)
	default:
		return fmt.Errorf("%q is unknown (in, equals, contains, contains-fold, prefix, suffix, matches, longer, action, must-match, must-not-match)", key)
	}
	return nil
}

// check tries the examples.
func (s *signature) check(file string) (errs []error) {
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: signature %s: %s", file, s.name, fmt.Sprintf(format, args...)))
	}
	switch {
	case s.subject == "":
		fail("it does not say in what (add `in: path`)")
	case len(s.tests) == 0:
		fail("it has no condition (add `contains: …`)")
	case len(s.match) == 0 || len(s.noMatch) == 0:
		fail("it needs an example that must match and one that must not")
	}
	for _, v := range s.match {
		if !s.fits(v) {
			fail("must-match: %q does not match", v)
		}
	}
	for _, v := range s.noMatch {
		if s.fits(v) {
			fail("must-not-match: %q matches", v)
		}
	}
	return errs
}

// reasonOf gives the signature's own reason, so that it is counted by itself. It
// is the same after a reload.
func reasonOf(name string) ppf.Reason {
	full := "signatures.match." + name
	reasonMu.Lock()
	defer reasonMu.Unlock()
	if r, ok := packet.ReasonByName(full); ok {
		return r
	}
	return packet.NewReason("signatures", ppf.ReasonInfo{Name: full, Field: "http.request", RFC: "9110 §15.5.4", Doc: "a request fits signature " + name,
		Trips: "requests that fit by chance", Relax: "action: count in the signature file, or modules: {signatures: {shadow: true}}"})
}
