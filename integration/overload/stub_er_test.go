//go:build unix

package overload

func errorRepliesChild(test *peer) error { return nil }
