package lab

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"time"
)

// Data is a reader of n pseudo-random bytes, the same for the same seed.
func Data(seed uint64, n int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// BitsPerSecond gives the rate of n bytes in d; 0 when d is 0.
func BitsPerSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) * 8 / d.Seconds()
}
