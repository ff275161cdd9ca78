//go:build !wasip1

package pfm

// Export makes a module the guest's. In a program that is no guest it does
// nothing: there a host takes the Module itself.
func Export(Module) {}
