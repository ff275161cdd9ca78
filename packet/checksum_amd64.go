package packet

import "golang.org/x/sys/cpu"

// vectorLen is the number of bytes of which sumVectors takes multiples.
const vectorLen = 128

// hasVectors reports whether sumVectors runs here.
var hasVectors = cpu.X86.HasAVX2

// sumVectors sums the 32-bit words of b, in the machine's order, with AVX2. The
// length is a multiple of vectorLen, and not 0.
//
//go:noescape
func sumVectors(b []byte) uint64
