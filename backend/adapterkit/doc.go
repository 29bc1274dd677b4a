// Package adapterkit has parts that most adapters need and that are not part of the
// contract in package backend. It is for authors of adapters, and imports the standard
// library and package backend alone. An adapter can do without it, or copy what it needs.
//
// Package backend is frozen from its first release on. This package may change with a
// minor release, for example to replace a function by a better one. The changelog says so.
package adapterkit
