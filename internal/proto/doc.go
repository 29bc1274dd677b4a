// Package proto is the protocol between the library and its scripts on a server: the
// names of keys and channels, the values that are stored there, the requests and the
// replies. It is the only package that knows the position of an argument. The scripts
// themselves are in package lua.
//
// On a server, for a lock with the key K:
//
//	K                  a token, or a reservation: "~" and a ticket       token.go, ticket.go
//	K                  "~shared", while others read                      shared.go
//	K{K}:readers       a sorted set of the readers' tokens               names.go
//	K{K}:queue         a sorted set of tickets                           names.go, ticket.go
//	K{K}:fence         the counter of fencing tokens                     names.go
//	K{K}:gone:token    a tombstone: the token will not be granted        names.go
//	K{K}:permits:1     a slot, which is a lock; up to 1024               slots.go
//	K{K}:permits:queue a sorted set of tickets, for all slots            slots.go
//	redlock:marker     the run of the server, for the quarantine         names.go
//	redlock:inbox:…    the channel on which a Locker is notified         names.go, ticket.go
//
// Requests are structs, such as [Acquire] and [Release]. Their method Op makes the
// operation. Functions named Read read the reply, and functions named Parse recover the
// request from an operation. Parsing is for nodes written in Go, which execute no Lua.
//
// If a script gets a new argument, three places change: the .lua file, the struct here,
// and package memory.
package proto
