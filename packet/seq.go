package packet

// Seq is a TCP sequence number (RFC 9293 §3.4). It wraps: compare with the
// methods only.
type Seq uint32

// Before reports whether s comes before t, where both lie within 2^31 of each
// other.
func (s Seq) Before(t Seq) bool { return int32(s-t) < 0 }

// After reports whether s comes after t.
func (s Seq) After(t Seq) bool { return int32(s-t) > 0 }

// InWindow reports whether s lies in the window of the given size from start on.
func (s Seq) InWindow(start Seq, size uint32) bool { return uint32(s-start) < size }

// Add advances s by n bytes.
func (s Seq) Add(n uint32) Seq { return s + Seq(n) }

// Diff is how far s lies behind t (negative) or ahead of it.
func (s Seq) Diff(t Seq) int32 { return int32(s - t) }
