package control

import (
	"context"

	"github.com/promethos/promethos/ppf"
)

// DefaultSocket is where a daemon listens that was not told otherwise.
const DefaultSocket = "/run/promethos/control.sock"

// Backend is what the API shows and changes: the running daemon. All methods
// are safe for concurrent use.
type Backend interface {
	Engine() *ppf.Engine
	// SourceStats counts packets per queue.
	SourceStats() ([]ppf.SourceStats, error)
	// IPTables executes the thesis' command.
	IPTables(ctx context.Context, args []string) CommandResult
	// Reload reads the configuration again; the running one stays when the new
	// one has a problem.
	Reload(ctx context.Context) (ReloadResult, error)
	// PlanReload tells what Reload would do.
	PlanReload(ctx context.Context) (ReloadResult, error)
	// Add puts the instances of a configuration to use behind those of the file, until
	// RemoveAdded; ChangeAdded replaces them. With a problem nothing is changed.
	Add(ctx context.Context, yaml string) (id int, r ReloadResult, err error)
	ChangeAdded(ctx context.Context, id int, yaml string) (ReloadResult, error)
	RemoveAdded(ctx context.Context, id int) error
	Reconfig(n ppf.InstanceNumber, config string) error
	// KernelLosses counts what the kernel dropped before us.
	KernelLosses() ([]ppf.KernelLoss, error)
	// Status describes the daemon itself.
	Status() Status
}

// CommandResult is what a command prints and ends with.
type CommandResult struct {
	Output string   `json:"output"`
	Errors []string `json:"errors"`
	Code   int      `json:"code"` // exit status: 0, 1 or 2
}

// ReloadResult tells what a reload did.
type ReloadResult struct {
	Changes  []string `json:"changes"`
	Problems []string `json:"problems"` // not empty: nothing was changed
}

// Addition is what Client.Add is answered with, before the connection stays open.
type Addition struct {
	ID int `json:"id"` // 0: there was a problem, and nothing was changed
	ReloadResult
}

// OverrideDefault takes an override back, where other words make one.
const OverrideDefault = "default"

// Status describes the daemon.
type Status struct {
	Version string `json:"version"`
	Config  string `json:"config"`
	PID     int    `json:"pid"`
	Queue   string `json:"queue"` // how rules hand packets over
	Workers int    `json:"workers"`
}

// StatsReply is the accounting of engine and sources.
type StatsReply struct {
	ppf.Stats
	Sources []ppf.SourceStats `json:"sources"`
	// Kernel is what the kernel dropped before us.
	Kernel []ppf.KernelLoss `json:"kernel"`
}

// FunctionInfo describes a registered user function.
type FunctionInfo struct {
	Name   string   `json:"name"`
	Module string   `json:"module"`
	Level  string   `json:"level"`
	Layer  uint8    `json:"layer"`
	UsedBy []string `json:"used_by"`
	Doc    string   `json:"doc"`
}

// ModuleInfo describes a PFM.
type ModuleInfo struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind"` // "built-in", "wasm" or "data"
	File      string   `json:"file,omitempty"`
	Aliases   []string `json:"aliases"`
	Version   string   `json:"version"`
	Loaded    bool     `json:"loaded"`
	State     string   `json:"state"`
	Faults    uint64   `json:"faults"`
	Functions []string `json:"functions"`
	Doc       string   `json:"doc"`
}

// errorReply is the body of a reply that failed.
type errorReply struct {
	Error string `json:"error"`
}
