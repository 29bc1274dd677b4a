package examples

import (
	"fmt"
	"strings"
)

// A section is a part of a page under a heading of the second or third level. It starts
// with empty servers and a new shell.
type section struct {
	title string
	steps []step
}

// A step is a command of a page.
type step struct {
	line    int
	command string
	output  string // what the page shows
	hidden  bool   // it is in a comment, and arranges what the next ones find
}

// parsePage returns the sections of a page that have commands.
func parsePage(text string) ([]section, error) {
	const (
		comment = "<!-- before: "
		prompt  = "$ "
		more    = "> "
	)
	var (
		sections []section
		current  section
		language string // of the block that the line is in
		inside   bool
		command  bool // the line before is one of a command
	)
	finish := func() {
		for _, s := range current.steps {
			if !s.hidden {
				sections = append(sections, current)
				break
			}
		}
	}
	for i, line := range strings.Split(text, "\n") {
		last := len(current.steps) - 1
		switch {
		case strings.HasPrefix(line, "```"):
			inside, language, command = !inside, strings.TrimPrefix(line, "```"), false
		case inside && language != "console":
		case !inside && (strings.HasPrefix(line, "## ") || strings.HasPrefix(line, "### ")):
			finish()
			current = section{title: strings.TrimLeft(line, "# ")}
		case !inside && strings.HasPrefix(line, comment):
			text, ok := strings.CutSuffix(strings.TrimPrefix(line, comment), " -->")
			if !ok {
				return nil, fmt.Errorf("line %d: the comment does not end on its line", i+1)
			}
			current.steps = append(current.steps, step{line: i + 1, command: text, hidden: true})
		case !inside:
		case strings.HasPrefix(line, prompt):
			current.steps = append(current.steps, step{line: i + 1, command: strings.TrimPrefix(line, prompt)})
			command = true
		case last < 0 || current.steps[last].hidden:
			return nil, fmt.Errorf("line %d: output before the first command of a block", i+1)
		case command && strings.HasPrefix(line, more):
			current.steps[last].command += "\n" + strings.TrimPrefix(line, more)
		default:
			current.steps[last].output += line + "\n"
			command = false
		}
	}
	finish()
	return sections, nil
}
