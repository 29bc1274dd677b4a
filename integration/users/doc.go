// Package users holds tests of what a user gets: that the code in the docs
// compiles in a module of its own, and that a program's list of modules holds the
// driver that it uses and no other. It has no code of its own.
package users
