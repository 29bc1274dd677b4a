// Package lua holds the scripts that adapters run, one file each, with the
// SHA-1 of each as a constant. There is one copy of every script: what an
// adapter for another driver sends is the same text, so that a server caches
// it once for all.
//
// Every script answers integers and strings, alone or in a flat list, and
// never nil. The comment at the head of each file says what it takes and what
// it answers.
package lua

import (
	_ "embed"

	"github.com/quorumlock/quorumlock/backend"
)

//go:embed acquire.lua
var acquire string

//go:embed delete.lua
var deleteIfHeld string

//go:embed extend.lua
var extend string

//go:embed inspect.lua
var inspect string

var (
	// Acquire takes a lock, or finds that the same token has it already.
	// Keys: lock. Args: token, ttl in ms. Answers {granted, ttl left in ms}.
	Acquire = backend.NewScript("acquire", acquire, "e0cd16dbe47faa65b24771b2baf1039dbfef6a04")

	// Delete is Node.EvalDelete. Keys: lock. Args: token. Answers 1 or 0.
	Delete = backend.NewScript("delete", deleteIfHeld, "7c5c3441344b8a67c9523e6c8e7853bcadf49885")

	// Extend is Node.Extend. Keys: lock. Args: token, ttl in ms. Answers 1 or 0.
	Extend = backend.NewScript("extend", extend, "e6b204bbf62e0ab802acbac73045487d513cceaa")

	// Inspect is Inspector.Inspect. Keys: key. Answers {found, value, ttl in ms}.
	Inspect = backend.NewScript("inspect", inspect, "3113ad5b23196316b7c431c7fce63384830c874c")
)

// All is every script of this package.
var All = []*backend.Script{Acquire, Delete, Extend, Inspect}
