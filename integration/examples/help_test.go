package examples

import (
	"regexp"
	"strings"
)

// explained matches what follows a command on its line in a help text.
var explained = regexp.MustCompile(` {3,}\S.*$`)

// parseHelp returns the commands under "Examples:" in a help text, by paragraph. It leaves
// out lines of prose, which end with a colon, and lines that only go on explaining.
func parseHelp(text string) (paragraphs [][]string) {
	var commands []string
	finish := func() {
		if len(commands) > 0 {
			paragraphs = append(paragraphs, commands)
		}
		commands = nil
	}
	_, text, _ = strings.Cut(text, "\nExamples:\n")
	text, _, _ = strings.Cut(text, "\n\n"+"Flags:")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			finish()
		}
		command, ok := strings.CutPrefix(line, "  ")
		if !ok || command == "" || strings.HasPrefix(command, "   ") || strings.HasSuffix(command, ":") {
			continue
		}
		commands = append(commands, explained.ReplaceAllString(command, ""))
	}
	finish()
	return paragraphs
}

var listed = regexp.MustCompile(`(?m)^  ([a-z-]+) +\S`)

// parseCommands returns the commands that a help text lists.
func parseCommands(text string) (names []string) {
	_, text, _ = strings.Cut(text, "\nCommands:\n")
	text, _, _ = strings.Cut(text, "\n\n")
	for _, match := range listed.FindAllStringSubmatch(text+"\n", -1) {
		names = append(names, match[1])
	}
	return names
}
