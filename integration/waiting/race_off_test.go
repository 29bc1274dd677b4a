//go:build !race

package waiting

const raceDetector = false
