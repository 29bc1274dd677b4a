// Package scripttest checks what the scripts of package backend/lua mean, for whoever
// executes or imitates them: servers of every kind and version, and package
// backend/memory. That an adapter passes keys, arguments, replies and errors through is a
// part of its contract, so package backend/backendtest checks it.
//
// [Run] makes every check as a subtest. [Compare] asks two nodes the same random questions,
// to show that one that imitates the scripts answers as a server does.
//
// The package tests itself: for every check there is a node that is broken on purpose, and
// that the check rejects.
package scripttest
