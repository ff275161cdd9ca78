package http

// What an octet may be part of.
const (
	inToken   = 1 << iota // tchar, RFC 9110 §5.6.2
	inText                // VCHAR, SP, HTAB and obs-text, RFC 9110 §5.5
	inPath                // pchar and "/", without "%", RFC 3986 §3.3
	inVisible             // VCHAR
	plain                 // unreserved, RFC 3986 §2.3: never percent-encoded
	inHost                // letters, digits, "-", "." and "_"
)

var octets = func() (t [256]uint8) {
	add := func(set string, class uint8) {
		for i := range len(set) {
			t[set[i]] |= class
		}
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	add(letters+"!#$%&'*+-.^_`|~", inToken)
	add(letters+"-._~", plain)
	add(letters+"-._~!$&'()*+,;=:@/", inPath)
	add(letters+"-._", inHost)
	for c := 0x21; c < 0x7f; c++ {
		t[c] |= inVisible | inText
	}
	for c := 0x80; c < 0x100; c++ {
		t[c] |= inText
	}
	add(" \t", inText)
	return t
}()

// firstNot finds the first octet that is not of the class; -1 where all are.
func firstNot(b []byte, class uint8) int {
	for i, c := range b {
		if octets[c]&class == 0 {
			return i
		}
	}
	return -1
}

// Token is validated token octets (RFC 9110 §5.6.2). The zero value is empty.
type Token struct{ b []byte }

// Text is validated octets of a field value, without blanks at its ends.
type Text struct{ b []byte }

// parseToken fails with the place of the first octet that belongs in none, and
// with 0 for nothing at all.
func parseToken(b []byte) (t Token, bad int) {
	if len(b) == 0 {
		return t, 0
	}
	if i := firstNot(b, inToken); i >= 0 {
		return t, i
	}
	return Token{b}, -1
}

// parseText trims blanks and fails with the place of the first octet that
// belongs in none.
func parseText(b []byte) (t Text, bad int) {
	if i := firstNot(b, inText); i >= 0 {
		return t, i
	}
	return Text{trim(b)}, -1
}

// String copies the token.
func (t Token) String() string { return string(t.b) }

// String copies the text.
func (t Text) String() string { return string(t.b) }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// foldEqual compares without regard to ASCII case.
func foldEqual[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// digits reads a decimal number without sign or blank. It fails for nothing, for
// anything but digits, and above 2^63-1.
func digits(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
		if n < 0 {
			return 0, false
		}
	}
	return n, true
}

// hexValue gives the value of a hexadecimal digit, -1 for anything else.
func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// elements splits a list at its commas and yields the elements that are not
// empty, without blanks at their ends (RFC 9110 §5.6.1).
func elements(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			i := 0
			for i < len(b) && b[i] != ',' {
				i++
			}
			if e := trim(b[:i]); len(e) > 0 && !yield(e) {
				return
			}
			b = b[min(i+1, len(b)):]
		}
	}
}
