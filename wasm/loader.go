package wasm

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/promethos/promethos/ppf"
)

const (
	// Kind is what the list of modules calls them.
	Kind   = "wasm"
	suffix = ".wasm"
	// maxFile is the size of a module's file that is read, in bytes.
	maxFile = 32 << 20
)

func init() { ppf.RegisterLoader(loader{}) }

// loader finds modules in files: NAME.wasm with the manifest inside, or in
// NAME.json beside.
type loader struct{}

var _ ppf.Loader = loader{}

// Suffix is .wasm.
func (loader) Suffix() string { return suffix }

// Open reads a file and checks its manifest.
func (loader) Open(file string) (ppf.ModuleInfo, error) {
	m, binary, err := readFile(file)
	if err != nil {
		return ppf.ModuleInfo{}, err
	}
	return ppf.ModuleInfo{
		Name: m.Name, Kind: Kind, File: file, Doc: m.Doc, Version: m.Version, Functions: m.functionNames(),
		New: func() ppf.Module { return &module{core: core{manifest: m}, binary: binary} },
	}, nil
}

func readFile(file string) (*Manifest, []byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, nil, err
	}
	if info.Size() > maxFile {
		return nil, nil, fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	list, err := sections(b)
	if err != nil {
		return nil, nil, err
	}
	text, inside := customSection(list, manifestSection)
	if !inside {
		beside := strings.TrimSuffix(file, suffix) + ".json"
		if text, err = os.ReadFile(beside); errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("it has no manifest: neither a section %q inside nor %s beside", manifestSection, beside)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, nil, err
	}
	return m, b, nil
}

// Pack gives a module's binary with the manifest inside.
func Pack(binary, manifest []byte) ([]byte, error) {
	if _, err := ParseManifest(manifest); err != nil {
		return nil, err
	}
	return withCustomSection(binary, manifestSection, manifest)
}
