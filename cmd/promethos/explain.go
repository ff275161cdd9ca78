package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/promethos/promethos/config"
	"github.com/promethos/promethos/modules/http"
	"github.com/promethos/promethos/ppf"
)

// explainOptions are the flags of `promethos explain`.
type explainOptions struct {
	path     string // of the configuration; "": the defaults
	instance string
	response bool
	request  string // file of the request that a response answers
}

// dated is a world in which nothing happens but that time goes on: a response
// without Date gets one.
type dated struct{ ppf.Env }

// Now reads the machine's clock.
func (dated) Now() int64 { return time.Now().UnixNano() }

// maxExplained is the size of a message that is read, in octets.
const maxExplained = 64 << 20

func newExplain(g *global) *cobra.Command {
	o := explainOptions{}
	c := &cobra.Command{
		Use: "explain", Short: "tell what becomes of an HTTP message on standard input", Args: cobra.NoArgs,
		Long: `Tell what becomes of an HTTP message on standard input: verdict, reason, RFC section, offset of the octet,
the setting that relaxes it, and the octets that would be sent. Requests that follow on the connection are explained too, up to one
that is refused; --json tells of the first. The exit status is 1 for a refused message.`,
		RunE: func(*cobra.Command, []string) error { return runExplain(g, o, os.Stdin, os.Stdout) },
	}
	c.Flags().StringVarP(&o.path, "config", "c", "", "`file` with the instance whose settings count; without it, the defaults")
	c.Flags().StringVar(&o.instance, "instance", "", "`name` of the instance; without it, the first one with http in its chain")
	c.Flags().BoolVar(&o.response, "response", false, "the message is a response")
	c.Flags().StringVar(&o.request, "request", "", "`file` with the request that the response answers; without it, GET /")
	return c
}

func runExplain(g *global, o explainOptions, in io.Reader, out io.Writer) error {
	raw, err := io.ReadAll(io.LimitReader(in, maxExplained+1))
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if len(raw) > maxExplained {
		return fmt.Errorf("explain: the message is longer than %d octets", maxExplained)
	}
	if o.request != "" && !o.response {
		return usageError{errors.New("explain: --request goes with --response")}
	}
	e, err := newExplainer(o)
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return usageError{errors.New("explain: there is nothing on standard input (promethos explain < request.raw)")}
	}
	var list []*http.Explanation
	if o.response {
		var request []byte
		if o.request != "" {
			if request, err = os.ReadFile(o.request); err != nil {
				return fmt.Errorf("explain: %w", err)
			}
		}
		list, err = explained(e.Response(request, raw))
	} else {
		list, err = explainRequests(e, raw)
	}
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if g.json {
		err = printJSON(out, list[0])
	} else {
		err = printExplanations(out, list)
	}
	if err == nil && list[len(list)-1].Verdict == "refused" {
		return silentError{exitFailed}
	}
	return err
}

func explained(x *http.Explanation, err error) ([]*http.Explanation, error) {
	return []*http.Explanation{x}, err
}

// explainRequests explains a request and those that follow it on the connection.
func explainRequests(e *http.Explainer, raw []byte) (list []*http.Explanation, err error) {
	for more := true; more; {
		x, err := e.Request(raw)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
		more = x.Behind > 0 && x.Verdict != "refused"
		raw = raw[len(raw)-x.Behind:]
	}
	return list, nil
}

func printExplanations(out io.Writer, list []*http.Explanation) error {
	for i, x := range list {
		if err := printExplanation(out, x); err != nil {
			return err
		}
		if i+1 < len(list) {
			fmt.Fprintf(out, "\n%d octets are behind it, which begin the next request:\n\n", x.Behind)
		}
	}
	return nil
}

// newExplainer takes the settings of an instance.
func newExplainer(o explainOptions) (*http.Explainer, error) {
	e := http.NewExplainer()
	e.Config, e.Env = http.DefaultConfig(), dated{ppf.DryEnv()}
	if o.path == "" {
		return e, nil
	}
	spec, problems := config.Load(o.path)
	problems = slices.DeleteFunc(problems, func(p ppf.Problem) bool { return p.Warning })
	if len(problems) > 0 {
		return nil, usageError{ppf.DecodeError(problems)}
	}
	for i := range spec.Instances {
		in := &spec.Instances[i]
		if !slices.Contains(in.Chain[ppf.ClientToServer], "http") || o.instance != "" && in.Name != o.instance {
			continue
		}
		if v, ok := in.Modules["http"]; ok {
			if err := ppf.DecodeSettings(e.Config, v, "modules.http"); err != nil {
				return nil, usageError{err}
			}
		}
		e.Mode = in.Mode
		do := e.Do
		e.Do = func(r ppf.Reason, m ppf.Mode) ppf.Do {
			for _, o := range in.Reasons {
				if o.Reason == r.String() && !o.Client.IsValid() {
					return o.Do
				}
			}
			return do(r, m)
		}
		return e, nil
	}
	return nil, usageError{fmt.Errorf("explain: %s has no instance %s with http in its chain", o.path, o.instance)}
}

func printExplanation(out io.Writer, x *http.Explanation) error {
	var b bytes.Buffer
	fmt.Fprintln(&b, "verdict:", x.Verdict)
	for _, f := range x.Findings {
		fmt.Fprintf(&b, "%s: %s at octet %d", f.Action, f.Reason, f.Offset)
		if f.Field != "" {
			fmt.Fprintf(&b, ", field %s", f.Field)
		}
		fmt.Fprintf(&b, "\n  %s", f.Doc)
		if f.RFC != "" {
			fmt.Fprintf(&b, " (RFC %s)", f.RFC)
		}
		if f.Setting != "" {
			fmt.Fprintf(&b, "\n  setting: %s", f.Setting)
		}
		fmt.Fprintln(&b)
	}
	switch {
	case len(x.Sent) > 0:
		fmt.Fprintf(&b, "sent, %d octets:\n%s", len(x.Sent), visible(x.Sent))
	default:
		fmt.Fprintln(&b, "sent: nothing")
	}
	_, err := out.Write(b.Bytes())
	return err
}

// visible makes octets readable, one line a line.
func visible(b []byte) string {
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		quoted := fmt.Sprintf("%q", line)
		fmt.Fprintf(&out, "  %s\n", quoted[1:len(quoted)-1])
	}
	return out.String()
}
