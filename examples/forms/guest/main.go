// Command guest is forms as a WebAssembly module.
package main

import (
	"github.com/promethos/promethos/examples/forms"
	"github.com/promethos/promethos/pfm"
)

func init() { pfm.Export(forms.Module) }

func main() {}
