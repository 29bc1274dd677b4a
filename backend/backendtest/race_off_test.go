//go:build !race

package backendtest_test

// raceDetector reports whether the tests run under the race detector, which detects some broken
// nodes before a check does.
const raceDetector = false
