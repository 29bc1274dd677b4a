package examples

import (
	"regexp"
	"strings"
	"testing"
)

var (
	variableUsed = regexp.MustCompile(`\$\{?([A-Za-z_]\w*)`)
	variableSet  = regexp.MustCompile(`(?:^|[\s;(])(?:([A-Za-z_]\w*)=|read (?:-\w+ )*([A-Za-z_]\w*)|for ([A-Za-z_]\w*) in )`)
)

// unset returns the variables that visible commands use and that no visible command has
// set. A reader who copies the commands runs them with an empty value.
func unset(steps []step) (names []string) {
	set := map[string]bool{}
	for _, s := range steps {
		if s.hidden {
			continue
		}
		for _, match := range variableSet.FindAllStringSubmatch(s.command, -1) {
			set[strings.Join(match[1:], "")] = true
		}
		for _, match := range variableUsed.FindAllStringSubmatch(s.command, -1) {
			if !set[match[1]] {
				names = append(names, match[1])
			}
		}
	}
	return names
}

// A reader of docs/operations.md does not see the comments. So a variable that the commands
// use is set by a command that the page shows: a password that is not set would become the
// empty password.
func TestVariables(t *testing.T) {
	sections, err := parsePage(operations(t))
	if err != nil {
		t.Fatalf("docs/operations.md: %v", err)
	}
	for _, s := range sections {
		if names := unset(s.steps); len(names) > 0 {
			t.Errorf("docs/operations.md, %s: no command that the page shows sets %q", s.title, names)
		}
	}
}
