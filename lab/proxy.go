package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Proxy is the program's daemon, running in a host of a lab as a child process.
type Proxy struct {
	Control string // its control socket

	cmd    *Cmd
	dir    string
	exited chan struct{}
	err    error

	mu  sync.Mutex
	log strings.Builder
}

// StartProxy runs `program run` in the host with the given configuration (YAML;
// it need not name a control socket) and returns when it is ready. When it ends
// before, the error says what it printed.
func (h *Host) StartProxy(ctx context.Context, program, configuration string) (*Proxy, error) {
	dir, err := os.MkdirTemp("", "promethos-lab-")
	if err != nil {
		return nil, fmt.Errorf("lab: proxy: %w", err)
	}
	p := &Proxy{Control: filepath.Join(dir, "control.sock"), dir: dir, exited: make(chan struct{})}
	if err := p.start(ctx, h, program, configuration); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

func (p *Proxy) start(ctx context.Context, h *Host, program, configuration string) error {
	file := filepath.Join(p.dir, "promethos.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		return fmt.Errorf("lab: proxy: %w", err)
	}
	p.cmd = h.Command(ctx, program, "run", "-c", file, "--control", p.Control)
	out, in := io.Pipe()
	p.cmd.Stderr, p.cmd.Stdout = in, in
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("lab: proxy: %w", err)
	}
	ready, read := make(chan struct{}), make(chan struct{})
	go func() {
		p.read(out, ready)
		close(read)
	}()
	go func() {
		p.err = p.cmd.Wait()
		in.Close()
		<-read // its last words are in the log before its end is told
		close(p.exited)
	}()
	select {
	case <-ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("lab: proxy: ended before it was ready: %w: %s", p.err, p.Log())
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("lab: proxy: not ready after %v: %s", patience, p.Log()), p.Kill())
	}
}

func (p *Proxy) read(out io.Reader, ready chan struct{}) {
	said := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		if lines.Text() == "ready" && !said {
			said = true
			close(ready)
		}
	}
}

// Log is what the daemon printed so far.
func (p *Proxy) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// PID is the daemon's process id.
func (p *Proxy) PID() int { return p.cmd.Process.Pid }

// Signal sends the daemon a signal.
func (p *Proxy) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Stop ends the daemon with SIGTERM and waits for it; the error is that of its
// exit status. It is called once, and not after Kill.
func (p *Proxy) Stop() error { return p.end(syscall.SIGTERM) }

// Kill ends the daemon as a crash would, with SIGKILL; its rules stay.
func (p *Proxy) Kill() error {
	if err := p.end(syscall.SIGKILL); err != nil && p.cmd.ProcessState == nil {
		return err
	}
	return nil
}

func (p *Proxy) end(s syscall.Signal) error {
	err := p.cmd.Process.Signal(s)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("lab: proxy: %w", err)
	}
	<-p.exited
	if err := os.RemoveAll(p.dir); err != nil {
		return fmt.Errorf("lab: proxy: %w", err)
	}
	if p.err != nil {
		return fmt.Errorf("lab: proxy: %w: %s", p.err, p.Log())
	}
	return nil
}
