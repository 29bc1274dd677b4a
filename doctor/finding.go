package doctor

import (
	"fmt"
	"strings"
)

// A Level says how bad a [Finding] is. Higher is worse.
type Level int

const (
	OK         Level = iota
	NotChecked       // the reason is in What; this is not a fault
	Warning          // locks work, but a fault that may happen would cost locks or their safety
	Failure          // locks do not work on this server, or are not safe there now
)

var levels = [...]string{"ok", "not checked", "warning", "failure"}

func (l Level) String() string {
	if l < OK || l > Failure {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levels[l]
}

// MarshalText returns the text of [Level.String].
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A Finding is the result of one check on one server. Its texts are one line each. What
// comes from a server is shortened and escaped in them.
type Finding struct {
	Check  string `json:"check"`  // the name of the check, as in the package comment
	Server string `json:"server"` // the name of the server; "" for checks of all servers together
	Level  Level  `json:"level"`
	What   string `json:"what"`   // what was found, or why nothing could be checked
	Advice string `json:"advice"` // what to do; "" unless Level is Warning or Failure
}

// String returns the finding in one line, such as "failure: r1:6379: role: it is a
// replica of r2:6379. Name the master.".
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", f.Level)
	if f.Server != "" {
		fmt.Fprintf(&b, "%s: ", f.Server)
	}
	fmt.Fprintf(&b, "%s: %s", f.Check, f.What)
	if f.Advice != "" {
		fmt.Fprintf(&b, ". %s.", f.Advice)
	}
	return b.String()
}

// A Report is all findings: those of each server in the order of the servers, and then
// those of all servers together.
type Report []Finding

// Worst returns the highest level, or OK if the report is empty.
func (r Report) Worst() Level {
	worst := OK
	for _, f := range r {
		worst = max(worst, f.Level)
	}
	return worst
}

// At returns the findings of at least that level.
func (r Report) At(least Level) Report {
	var found Report
	for _, f := range r {
		if f.Level >= least {
			found = append(found, f)
		}
	}
	return found
}

// A verdict is a finding without its place. The zero verdict is left out of the report.
type verdict struct {
	check        string // if it differs from the name of the check that gave the verdict
	level        Level
	what, advice string
}

func fine(format string, args ...any) verdict {
	return verdict{level: OK, what: fmt.Sprintf(format, args...)}
}

func warn(advice, format string, args ...any) verdict {
	return verdict{level: Warning, what: fmt.Sprintf(format, args...), advice: advice}
}

func fail(advice, format string, args ...any) verdict {
	return verdict{level: Failure, what: fmt.Sprintf(format, args...), advice: advice}
}

func notChecked(why error) verdict { return verdict{level: NotChecked, what: why.Error()} }
