//go:build unix

package overload

func failedNodeChild(test *peer) error { return nil }
