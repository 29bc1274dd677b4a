//go:build manual

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// main writes the manual pages and the shell completions into a folder. It replaces the
// tool under the build tag "manual", so that the tool does not contain the library that
// writes manual pages:
//
//	go run -tags manual ./cmd/redlock FOLDER VERSION
func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run -tags manual ./cmd/redlock FOLDER VERSION")
		os.Exit(exitUsage)
	}
	if err := writeManual(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(exitFailed)
	}
}

// writeManual writes man/redlock*.1 and completions/redlock.* into folder.
func writeManual(folder, version string) error {
	pages, completions := filepath.Join(folder, "man"), filepath.Join(folder, "completions")
	for _, dir := range []string{pages, completions} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // it is to be published
			return err
		}
	}
	root := newRoot(io.Discard, io.Discard)
	for name, write := range map[string]func(string) error{
		"redlock.bash": func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"redlock.zsh":  root.GenZshCompletionFile,
		"redlock.fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
		"redlock.ps1":  root.GenPowerShellCompletionFileWithDesc,
	} {
		if err := write(filepath.Join(completions, name)); err != nil {
			return err
		}
	}
	root.RemoveCommand(find(root, "completion"), find(root, "help"))
	preparePages(root)
	header := &doc.GenManHeader{Section: "1", Source: "redlock " + version, Manual: "Quorumlock"}
	for _, cmd := range root.Commands() {
		if !cmd.IsAdditionalHelpTopicCommand() { // GenManTree leaves these out
			continue
		}
		var page bytes.Buffer
		if err := doc.GenMan(cmd, header, &page); err != nil {
			return err
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		if err := os.WriteFile(filepath.Join(pages, name), page.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return doc.GenManTree(root, header, pages)
}

func find(root *cobra.Command, name string) *cobra.Command {
	for _, cmd := range root.Commands() {
		if cmd.Name() == name {
			return cmd
		}
	}
	return nil
}

// preparePages adds to the text of each command the sections that package doc does not
// know. It does not let package doc join the lines of a text, because some texts have
// tables.
func preparePages(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	long := cmp.Or(cmd.Long, cmd.Short+".")
	for _, section := range []struct{ name, title string }{{environmentSection, "ENVIRONMENT"}, {exitSection, "EXIT STATUS"}} {
		if body := cmd.Annotations[section.name]; body != "" {
			long += "\n\n# " + section.title + "\n\n" + verbatim(body)
		}
	}
	cmd.Long = long
	for _, sub := range cmd.Commands() {
		preparePages(sub)
	}
}

// verbatim makes a block of text one that is printed as it stands.
func verbatim(body string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(body, "\n"), "\n", "\n    ")
}
