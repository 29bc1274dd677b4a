//go:build race

package waiting

const raceDetector = true
