// Package docs holds no code, only tests that the documents tell the truth:
// examples are accepted, commands are understood, and names, classes and
// defaults in tables are those of the program.
package docs
