// Package behaviour tests what users of package redlock can rely on, with every adapter,
// on real servers: behaviour during outages, on slow and lossy networks, on cancellation,
// and when other libraries use the same keys. It has no code of its own.
//
// It is for developers who change the library or an adapter. See package servers for the
// servers on which the tests run.
package behaviour
