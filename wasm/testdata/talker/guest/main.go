// Command guest is talker as a WebAssembly module.
package main

import (
	"github.com/promethos/promethos/pfm"
	"github.com/promethos/promethos/wasm/testdata/talker"
)

func init() { pfm.Export(talker.Module) }

func main() {}
