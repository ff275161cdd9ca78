//go:build !wasip1

package count

import "embed"

// Sources are the files that its forms are made of, for `promethos bench module`.
//
//go:embed count.go count.json guest/main.go c/count.c
var Sources embed.FS
