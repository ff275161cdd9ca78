package signatures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/ppf"
)

// reasonMu keeps two instances from registering the same reason.
var reasonMu sync.Mutex

func init() {
	ppf.RegisterModule(ppf.ModuleInfo{
		Name: "signatures", Version: "1.0.0", Doc: "refuses HTTP requests that fit patterns from a file",
		Functions: []string{"signatures"},
		New:       func() ppf.Module { return &module{} },
	})
}

type module struct{}

var _ ppf.Module = (*module)(nil)

func (*module) Start(_ context.Context, host *ppf.ModuleHost) error {
	return host.Register(ppf.UserFunction{
		Name: "signatures", Doc: "refuses HTTP requests that fit patterns from a file",
		Level: ppf.LevelMessage, Layer: 7,
		Settings:    func() any { return &Config{} },
		BindMessage: func(b ppf.Binding) (any, error) { return newFunction(b.Settings.(*Config), b.Env) },
	})
}

func (*module) Stop(context.Context) error { return nil }

// Config holds the settings of the user function signatures.
type Config struct {
	// File is the signature file's path.
	File string `conf:"file"`
	// Shadow counts what fits and refuses nothing.
	Shadow bool `conf:"shadow"`
	// Status is the answer to a refused request.
	Status int `conf:"status"`
}

// Validate joins everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.File == "" {
		errs = append(errs, errors.New("file: it is missing (name the signature file)"))
	}
	if c.Status != 0 && (c.Status < 400 || c.Status > 499) {
		errs = append(errs, fmt.Errorf("status: %d is out of range (400 to 499; 0 is 403)", c.Status))
	}
	return errors.Join(errs...)
}

// checkEvery is how often the file is looked at, at most.
const checkEvery = int64(500 * time.Millisecond)

// maxFile is the size of a file that is read, in octets.
const maxFile = 4 << 20

// function is signatures for one proxy instance. The file is looked at when
// requests come: nothing runs while none do.
type function struct {
	Config
	env     ppf.Env
	set     atomic.Pointer[[]*signature]
	checked atomic.Int64
	mu      sync.Mutex
	seen    fileState // guarded by mu
}

// fileState tells one state of the file from another.
type fileState struct {
	size int64
	time time.Time
}

func newFunction(c *Config, env ppf.Env) (*function, error) {
	f := &function{Config: *c, env: env}
	if _, err := f.load(); err != nil {
		return nil, err
	}
	f.checked.Store(env.Now())
	return f, nil
}

// load reads the file if it has changed. On error the signatures that are there
// stay.
func (f *function) load() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.File)
	if err != nil {
		return false, err
	}
	now := fileState{info.Size(), info.ModTime()}
	if now == f.seen {
		return false, nil
	}
	f.seen = now
	if info.Size() > maxFile {
		return false, fmt.Errorf("%s: it is larger than %d octets", f.File, maxFile)
	}
	text, err := os.ReadFile(f.File)
	if err != nil {
		return false, err
	}
	list, err := parseFile(f.File, string(text))
	if err != nil {
		return false, err
	}
	f.set.Store(&list)
	return true, nil
}

// Request refuses the request at the first signature that it fits.
func (f *function) Request(x *http.Exchange) {
	now, last := f.env.Now(), f.checked.Load()
	if now-last >= checkEvery && f.checked.CompareAndSwap(last, now) {
		switch changed, err := f.load(); {
		case err != nil:
			x.Report("signatures: the file is not taken, and the signatures that are there stay: %v", err)
		case changed:
			x.Report("signatures: %s was read again: %d signatures", f.File, len(*f.set.Load()))
		}
	}
	for _, s := range *f.set.Load() {
		if !s.find(x.Request) {
			continue
		}
		if s.count || f.Shadow {
			x.WouldRefuse(s.reason)
			continue
		}
		x.Refuse(s.reason, f.Status)
		return
	}
}

// Response has nothing to do.
func (*function) Response(*http.Exchange) {}
