// Command guest is keeper as a guest.
package main

import (
	"github.com/promethos/promethos/pfm"
	"github.com/promethos/promethos/wasm/testdata/keeper"
)

func init() { pfm.Export(keeper.Module) }

func main() {}
