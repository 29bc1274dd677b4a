// Package users tests what a user gets: the code in the docs compiles in a module of its own, and
// the modules of a program include the driver that it uses and no other. The package has no code
// outside its tests.
package users
