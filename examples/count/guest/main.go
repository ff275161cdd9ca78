// Command guest is count as a WebAssembly module.
package main

import (
	"github.com/promethos/promethos/examples/count"
	"github.com/promethos/promethos/pfm"
)

func init() { pfm.Export(count.Module) }

func main() {}
