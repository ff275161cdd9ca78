// Package e2e tests the program from outside: it is built, run as a daemon in
// the lab's proxy host, driven by its command line, and judged by what client and
// server see. There is nothing here but tests. They need network namespaces;
// some need a program that is not ours, and skip naming it.
package e2e
