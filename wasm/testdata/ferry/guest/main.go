// Command guest is ferry as a WebAssembly module.
package main

import (
	"github.com/promethos/promethos/pfm"
	"github.com/promethos/promethos/wasm/testdata/ferry"
)

func init() { pfm.Export(ferry.Module) }

func main() {}
