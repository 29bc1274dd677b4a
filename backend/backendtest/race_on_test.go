//go:build race

package backendtest_test

// raceDetector says that tests run under the race detector, which sees some
// broken nodes before a check does.
const raceDetector = true
