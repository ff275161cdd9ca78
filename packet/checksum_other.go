//go:build !amd64

package packet

// There are no vectors here: sumVectors is never called.
const (
	vectorLen  = 128
	hasVectors = false
)

func sumVectors([]byte) uint64 { return 0 }
