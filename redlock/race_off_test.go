//go:build !race

package redlock

// raceDetector says whether this is a build with the race detector, which allocates.
const raceDetector = false
