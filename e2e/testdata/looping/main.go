// Command looping is a guest that loops for ever when a payload says so.
package main

import (
	"bytes"

	"github.com/promethos/promethos/pfm"
)

func init() {
	pfm.Export(pfm.Module{Functions: []pfm.Function{{Name: "looping", Bind: bind}}})
}

func bind(*pfm.Binding) (pfm.Processor, error) {
	return func(x *pfm.Exchange) pfm.Verdict {
		for bytes.HasPrefix(x.Payload(), []byte("loop")) {
		}
		return pfm.Accept
	}, nil
}

func main() {}
