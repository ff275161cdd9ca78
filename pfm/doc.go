// Package pfm is the kit for proxy framework modules that PromethOS loads at run
// time. A module is ordinary Go, compiled with the stock toolchain:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o NAME.wasm ./guest
//
// The same source also compiles into the program as a built-in module. A module
// sees received headers as typed values and builds packets from typed values; it
// cannot send a malformed header. docs/writing-a-module.md is the tutorial, and
// docs/abi.md describes what happens below this package.
package pfm
