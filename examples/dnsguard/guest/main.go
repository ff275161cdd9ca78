// Command guest is dnsguard as a WebAssembly module.
package main

import (
	"github.com/promethos/promethos/examples/dnsguard"
	"github.com/promethos/promethos/pfm"
)

func init() { pfm.Export(dnsguard.Module) }

func main() {}
