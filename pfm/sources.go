//go:build !wasip1

package pfm

import "embed"

// Sources are the files of this package and of the kit for C, which `promethos
// module new` puts beside a module, so that it builds without a network.
//
//go:embed *.go c/pfm.h
var Sources embed.FS
