package data

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"github.com/promethos/promethos/ppf"
)

const (
	// Kind is what the list of modules calls them.
	Kind   = "data"
	suffix = ".data.json"
	// maxFile is the size of a file that is read, in bytes.
	maxFile = 64 << 20
)

func init() { ppf.RegisterLoader(loader{}) }

// loader finds data modules in files NAME.data.json.
type loader struct{}

var _ ppf.Loader = loader{}

// Suffix is .data.json.
func (loader) Suffix() string { return suffix }

// file is what a file holds.
type file struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Doc       string   `json:"doc"`
	Addresses []string `json:"addresses"` // 192.0.2.1 or 192.0.2.0/24
	Words     []string `json:"words"`     // text, compared byte by byte
	// Bytes are words in hexadecimal, for what is no text: types of headers.
	Bytes []hexBytes `json:"bytes"`
}

// hexBytes is bytes in hexadecimal, with spaces where they help.
type hexBytes string

// UnmarshalText reads the digits.
func (h *hexBytes) UnmarshalText(text []byte) error {
	var b []byte
	if _, err := fmt.Sscanf(strings.ReplaceAll(string(text), " ", ""), "%x", &b); err != nil || len(b) == 0 {
		return fmt.Errorf("%q is not bytes in hexadecimal", text)
	}
	*h = hexBytes(b)
	return nil
}

var name = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// Open reads a file; the error holds all problems of its entries.
func (loader) Open(path string) (ppf.ModuleInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return ppf.ModuleInfo{}, err
	}
	if info.Size() > maxFile {
		return ppf.ModuleInfo{}, fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return ppf.ModuleInfo{}, err
	}
	f, set, err := parse(text)
	if err != nil {
		return ppf.ModuleInfo{}, err
	}
	return ppf.ModuleInfo{
		Name: f.Name, Kind: Kind, File: path, Doc: f.Doc, Version: f.Version, AtOnce: true,
		New: func() ppf.Module { return module{set} },
	}, nil
}

func parse(text []byte) (*file, *ppf.Data, error) {
	f := &file{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(f); err != nil {
		return nil, nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, errors.New("something follows its end")
	}
	var errs []error
	if !name.MatchString(f.Name) {
		errs = append(errs, fmt.Errorf("name %q: use a lowercase letter, then letters, digits, '-' and '_', 32 at most", f.Name))
	}
	var prefixes []netip.Prefix
	for i, a := range f.Addresses {
		p, err := ppf.ParsePrefix(a)
		if err != nil {
			errs = append(errs, fmt.Errorf("addresses[%d]: %w", i, err))
		}
		prefixes = append(prefixes, p)
	}
	words := f.Words
	for _, b := range f.Bytes {
		words = append(words, string(b))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return f, ppf.NewData(prefixes, words), nil
}

// module gives its set to functions.
type module struct{ set *ppf.Data }

var _ ppf.Module = module{}

func (m module) Start(_ context.Context, host *ppf.ModuleHost) error {
	host.ProvideData(m.set)
	return nil
}

func (module) Stop(context.Context) error { return nil }
