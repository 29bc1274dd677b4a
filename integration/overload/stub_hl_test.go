//go:build unix

package overload

func heldLocksChild(test *peer) error { return nil }
