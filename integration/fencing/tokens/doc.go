// Package tokens holds the tests of fencing tokens on real servers: that they are
// unique and in order while servers are paused and killed, what becomes of them
// where servers forget, and that a resource which compares them loses no update of
// clients whose locks have expired. It has no code of its own.
package tokens
