package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorumlock/quorumlock/internal/long"
)

// There is a manual page for each command, with each of its flags and all sections of its
// help, and a completion for each shell.
func TestManual(t *testing.T) {
	long.Test(t)
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "run", "-tags", "manual", ".", dir, "v1.2.3").CombinedOutput(); err != nil {
		t.Fatalf("go run: %v: %s", err, out)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return strings.ReplaceAll(string(text), `\`, "")
	}
	root := newRoot(io.Discard, io.Discard)
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			continue
		}
		page := read("man/" + strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1")
		want := []string{"redlock v1.2.3", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"}
		if cmd.Annotations[environmentSection] != "" {
			want = append(want, ".SH ENVIRONMENT", "REDLOCK_NODES")
		}
		if cmd.Annotations[exitSection] != "" {
			want = append(want, ".SH EXIT STATUS")
		}
		if cmd.Example != "" {
			want = append(want, ".SH EXAMPLE", strings.TrimSpace(strings.Split(cmd.Example, "\n")[0]))
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				want = append(want, "--"+f.Name)
			}
		})
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("the page of %q lacks %q", cmd.CommandPath(), text)
			}
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "ps1"} {
		if text := read("completions/redlock." + shell); !strings.Contains(text, cobra.ShellCompRequestCmd) {
			t.Errorf("the completion of %s does not ask the tool", shell)
		}
	}
}
