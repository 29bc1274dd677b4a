package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCommandEnvironment(t *testing.T) {
	// A process may inherit the same name twice, and then either may count.
	inherited := []string{
		"REDLOCK_FENCE=41", "PATH=/bin", "REDLOCK_NAME=outer", "REDLOCK_FENCE=42", "REDLOCK_FENCED=x", "EMPTY=", "REDLOCK_NODES=redis://h",
	}
	kept := []string{"PATH=/bin", "REDLOCK_FENCED=x", "EMPTY=", "REDLOCK_NODES=redis://h"}
	for _, tt := range []struct {
		name  string
		fence uint64
		set   []string
	}{
		{"without a fencing token", 0, []string{"REDLOCK_NAME=inner"}},
		{"with a fencing token", 7, []string{"REDLOCK_NAME=inner", "REDLOCK_FENCE=7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := slices.Concat(kept, tt.set)
			if got := commandEnvironment(inherited, "inner", tt.fence); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// The help names each variable that the command gets, and the tool sets no other.
func TestCommandEnvironmentHelp(t *testing.T) {
	_, help, _ := inProcess("run", "--help")
	_, section, ok := strings.Cut(help, "These two always describe its own lock:\n")
	if !ok {
		t.Fatalf("the help does not say what the command gets:\n%s", help)
	}
	section, _, _ = strings.Cut(section, "\n\n")
	listed := regexp.MustCompile(`REDLOCK_[A-Z]+`).FindAllString(section, -1)
	if !slices.Equal(listed, commandVariables) {
		t.Errorf("the help lists %q, and %q are removed from the inherited environment", listed, commandVariables)
	}
	for _, entry := range commandEnvironment(nil, "name", 1) {
		if !describesLock(entry) {
			t.Errorf("%q is set, and not removed from the inherited environment", entry)
		}
	}
}
