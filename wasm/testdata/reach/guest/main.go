// Command guest is reach as a guest.
package main

import (
	"github.com/promethos/promethos/pfm"
	"github.com/promethos/promethos/wasm/testdata/reach"
)

func init() { pfm.Export(reach.Module) }

func main() {}
