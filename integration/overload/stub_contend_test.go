//go:build unix

package overload

func contendChild(test *peer) error { return nil }
