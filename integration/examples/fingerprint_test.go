package examples

import (
	"regexp"
	"strings"
)

// fingerprints maps the fingerprints of holders that the page shows to those of this run.
type fingerprints map[string]string

var fingerprint = regexp.MustCompile(`#[0-9a-f]{8}\b`)

// learn compares what the page shows with what a command has printed.
func (f fingerprints) learn(page, printed string) {
	here := fingerprint.FindAllString(printed, -1)
	for i, shown := range fingerprint.FindAllString(page, -1) {
		if i < len(here) {
			f[shown[1:]] = here[i][1:]
		}
	}
}

// replace returns the command of the page for this run.
func (f fingerprints) replace(command string) string {
	for shown, here := range f {
		command = strings.ReplaceAll(command, shown, here)
	}
	return command
}
