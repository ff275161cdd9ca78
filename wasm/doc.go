// Package wasm runs proxy framework modules that are WebAssembly files. A guest
// sees received headers as typed values and builds packets from typed values,
// through the calls that docs/abi.md describes byte by byte, and reaches nothing
// else. What it does wrong costs its own packets only: endless loops end when
// their fuel does, memory is bounded, and a guest that faults is replaced, or
// after some faults disabled.
package wasm
