//go:build !wasip1

package pfm

import "iter"

// Export makes a module the guest's. In a program that is no guest it does
// nothing: there a host takes the Module itself.
func Export(Module) {}

// Reasons lists the reasons of all modules of the program; it is for hosts.
func Reasons() iter.Seq2[Reason, ReasonInfo] {
	return func(yield func(Reason, ReasonInfo) bool) {
		for i, info := range reasonInfos {
			if !yield(Reason(i+1), info) {
				return
			}
		}
	}
}
