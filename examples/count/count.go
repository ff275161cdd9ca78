// Package count counts packets and payload bytes of a proxy instance, and
// builds each packet anew.
package count

import (
	"strconv"

	"github.com/promethos/promethos/pfm"
)

// Module is the whole module.
var Module = pfm.Module{Functions: []pfm.Function{{Name: "count", Bind: bind}}}

func bind(b *pfm.Binding) (pfm.Processor, error) {
	every := uint64(b.Int("every"))
	return func(x *pfm.Exchange) pfm.Verdict {
		if !x.IsBuilt() {
			x.Rebuild() // what it refuses is refused, whatever is answered
		}
		packets := b.Add(0, 1)
		bytes := b.Add(8, uint64(x.PayloadLen()))
		if packets%every == 0 {
			b.Log(strconv.FormatUint(packets, 10) + " packets, " + strconv.FormatUint(bytes, 10) + " bytes")
		}
		return pfm.Accept
	}, nil
}
