// Package tokens tests fencing tokens on real servers. Tokens are unique and in order while
// servers are paused and killed. The tests also show what happens when servers lose data, and
// that a resource which compares tokens loses no update of clients whose locks have expired. The
// package has no code outside its tests.
package tokens
