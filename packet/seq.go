package packet

// Seq is a TCP sequence number (RFC 9293 §3.4). It wraps: compare with the
// methods only. Two numbers that lie exactly 2^31 apart have no order; each then
// counts as before the other.
type Seq uint32

// Before reports whether s comes before t.
func (s Seq) Before(t Seq) bool { return int32(s-t) < 0 }

// After reports whether s comes after t.
func (s Seq) After(t Seq) bool { return t.Before(s) }

// InWindow reports whether s is one of the size numbers from start on. A window
// of 0 holds none.
func (s Seq) InWindow(start Seq, size uint32) bool { return uint32(s-start) < size }

// Add advances s by n bytes.
func (s Seq) Add(n uint32) Seq { return s + Seq(n) }

// Diff is s minus t in bytes: negative where s comes before t.
func (s Seq) Diff(t Seq) int32 { return int32(s - t) }
