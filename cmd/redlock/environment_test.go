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
		"REDLOCK_FENCE=41", "PATH=/bin", "REDLOCK_NAME=outer", "REDLOCK_FENCE=42", "REDLOCK_FENCED=x", "EMPTY=", "REDLOCK_NODES=redis://h", "REDLOCK_HELD=1:a",
	}
	kept := []string{"PATH=/bin", "REDLOCK_FENCED=x", "EMPTY=", "REDLOCK_NODES=redis://h"}
	for _, tt := range []struct {
		name string
		with surrounding
		set  []string
	}{
		{"without a fencing token", surrounding{name: "inner"}, []string{"REDLOCK_NAME=inner"}},
		{"with a fencing token", surrounding{name: "inner", fence: 7}, []string{"REDLOCK_NAME=inner", "REDLOCK_FENCE=7"}},
		{"with a permit", surrounding{name: "inner", permit: 2}, []string{"REDLOCK_NAME=inner", "REDLOCK_PERMIT=2"}},
		{"inside another run", surrounding{name: "inner", held: held{{1, "a"}, {2, "b"}}}, []string{"REDLOCK_NAME=inner", "REDLOCK_HELD=1:a 2:b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := slices.Concat(kept, tt.set)
			if got := commandEnvironment(inherited, tt.with); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// Servers with a password are not handed on unless that was asked for. A run inside the
// command can tell.
func TestCommandEnvironmentNodes(t *testing.T) {
	const secret, withheld = "REDLOCK_NODES=h1,redis://:Zq7Xv9@h2", "REDLOCK_NODES_WITHHELD=1"
	for _, tt := range []struct {
		name      string
		inherited []string
		pass      bool
		want      []string
	}{
		{"no password", []string{"REDLOCK_NODES=redis://h1,h2"}, false, []string{"REDLOCK_NODES=redis://h1,h2"}},
		{"a password", []string{secret}, false, []string{withheld}},
		{"a password without a host", []string{"REDLOCK_NODES=h,password=Zq7Xv9"}, false, []string{withheld}},
		{"asked for", []string{secret}, true, []string{secret}},
		{"asked for by an inner run, too late", []string{withheld}, true, []string{withheld}},
		{"an outer run had none to hand on", []string{withheld}, false, []string{withheld}},
		{"set anew inside an outer run", []string{withheld, "REDLOCK_NODES=h"}, false, []string{"REDLOCK_NODES=h"}},
		{"a password apart", []string{"REDLOCK_NODES=h", "REDLOCK_PASSWORD=Zq7Xv9"}, false, []string{withheld}},
		{"a sentinel's password", []string{"REDLOCK_NODES_FILE=/f", "REDLOCK_SENTINEL_PASSWORD=Zq7Xv9"}, false, []string{withheld}},
		{"a password apart, asked for", []string{"REDLOCK_NODES=h", "REDLOCK_PASSWORD=Zq7Xv9"}, true, []string{"REDLOCK_NODES=h", "REDLOCK_PASSWORD=Zq7Xv9"}},
		{"names of files", []string{"REDLOCK_NODES_FILE=/f", "REDLOCK_PASSWORD_FILE=/p"}, false, []string{"REDLOCK_NODES_FILE=/f", "REDLOCK_PASSWORD_FILE=/p"}},
		{"the name of a file in a URL", []string{"REDLOCK_NODES=redis://h?password_file=/p"}, false, []string{"REDLOCK_NODES=redis://h?password_file=/p"}},
		{"a file set anew inside an outer run", []string{withheld, "REDLOCK_NODES_FILE=/f"}, false, []string{"REDLOCK_NODES_FILE=/f"}},
		{"empty", []string{"REDLOCK_NODES="}, false, []string{"REDLOCK_NODES="}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := append(slices.Clone(tt.want), "REDLOCK_NAME=n")
			slices.Sort(want)
			got := commandEnvironment(tt.inherited, surrounding{name: "n", passNodes: tt.pass})
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// The help names each variable that the command gets, and the tool sets no other.
func TestCommandEnvironmentHelp(t *testing.T) {
	_, help, _ := inProcess("run", "--help")
	_, section, ok := strings.Cut(help, "These variables are always about its own lock:\n")
	if !ok {
		t.Fatalf("the help does not say what the command gets:\n%s", help)
	}
	section, _, _ = strings.Cut(section, "\n\n")
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^  (REDLOCK_[A-Z_]+)`).FindAllStringSubmatch(section, -1) {
		listed = append(listed, m[1])
	}
	if !slices.Equal(listed, commandVariables) {
		t.Errorf("the help lists %q, and %q are removed from the inherited environment", listed, commandVariables)
	}
	all := commandEnvironment([]string{"REDLOCK_NODES=redis://:pw@h"}, surrounding{name: "n", fence: 1, permit: 1, held: held{{1, "a"}}})
	for _, entry := range all {
		if name, _, _ := strings.Cut(entry, "="); !slices.Contains(commandVariables, name) {
			t.Errorf("%q is set, and not removed from the inherited environment", entry)
		}
	}
	if len(all) != len(commandVariables) {
		t.Errorf("the command gets %q, want all of %q", all, commandVariables)
	}
}
