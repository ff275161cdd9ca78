// Command guest is modbus as a WebAssembly module.
package main

import (
	"github.com/promethos/promethos/examples/modbus"
	"github.com/promethos/promethos/pfm"
)

func init() { pfm.Export(modbus.Module) }

func main() {}
