// Package adapterkit has parts that most adapters need and that are not part of the
// contract in package backend. It imports the standard library and package backend alone.
//
// Package backend is frozen from its first release on. This package may change with a
// minor release: a function can be replaced by a better one. The changelog says so. An
// adapter can do without it, and can copy what it needs.
package adapterkit
