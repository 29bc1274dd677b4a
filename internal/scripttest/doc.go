// Package scripttest checks the behaviour of the scripts in package backend/lua. It is
// for everything that executes or imitates them: servers of every kind and version, and
// package backend/memory. It does not check that an adapter passes keys, arguments,
// replies and errors through. That is part of an adapter's contract, so package
// backend/backendtest checks it.
//
// [Run] runs each check as a subtest. [Compare] sends the same random operations to two
// nodes, to show that a node which imitates the scripts answers as a server does.
//
// The package tests itself: for each check there is a node that is broken on purpose,
// which the check must reject.
package scripttest
