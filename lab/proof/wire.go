package proof

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/promethos/promethos/lab"
)

// Property is one of the six.
type Property uint8

// The properties.
const (
	WellFormed Property = iota + 1
	Canonical
	Unambiguous
	Transparent
	Accounted
	Survives
)

var propertyNames = map[Property]string{
	WellFormed: "P1 well-formed", Canonical: "P2 canonical", Unambiguous: "P3 unambiguous",
	Transparent: "P4 transparent", Accounted: "P5 accounted", Survives: "P6 survives",
}

// String gives "P1 well-formed".
func (p Property) String() string { return propertyNames[p] }

// Violation is one thing that does not hold.
type Violation struct {
	Property Property
	Detail   string
}

// String is for people.
func (v Violation) String() string { return fmt.Sprintf("%v: %s", v.Property, v.Detail) }

// Packets judges what arrived by P1, P2 and P3. Frames that the host itself sent
// are not judged. Kinds to ignore are those that a chain does not claim to
// exclude. tshark is a second judge for P1 where it is installed.
func Packets(ctx context.Context, frames []lab.Frame, ignore ...lab.Kind) ([]Violation, error) {
	arrived := Received(frames)
	list := Judged(arrived, ignore...)
	second, err := tshark(ctx, arrived)
	for _, f := range second {
		list = append(list, Violation{WellFormed, f.String()})
	}
	return append(list, Streams(arrived).Ambiguous()...), err
}

// Received leaves out what the host itself sent.
func Received(frames []lab.Frame) []lab.Frame { return direction(frames, false) }

// Sent leaves out what the host did not send.
func Sent(frames []lab.Frame) []lab.Frame { return direction(frames, true) }

func direction(frames []lab.Frame, outgoing bool) (list []lab.Frame) {
	for _, f := range frames {
		if f.Outgoing == outgoing {
			list = append(list, f)
		}
	}
	return list
}

// Judged judges frames by P1 and P2, by gopacket alone.
func Judged(frames []lab.Frame, ignore ...lab.Kind) (list []Violation) {
	for _, f := range lab.JudgeFrames(frames, ignore...) {
		p := WellFormed
		if f.Kind == lab.KindCanonical {
			p = Canonical
		}
		list = append(list, Violation{p, f.String()})
	}
	return list
}

// tshark judges frames with the second decoder; without it there is nothing to
// find.
func tshark(ctx context.Context, frames []lab.Frame) ([]lab.Finding, error) {
	file, err := os.CreateTemp("", "promethos-proof-*.pcapng")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if err := errors.Join(lab.WriteCapture(file, frames), file.Close()); err != nil {
		return nil, err
	}
	list, err := lab.TsharkJudge(ctx, file.Name())
	if errors.Is(err, lab.ErrNoTshark) {
		return nil, nil
	}
	return list, err
}
