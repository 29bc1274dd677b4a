package child

import (
	"fmt"
	"os"
)

// Status says how a command ended.
type Status struct {
	Code   int       // its exit code; 128 and the signal's number if it was killed by one
	Signal string    // the name of that signal, or ""
	By     os.Signal // that signal, or nil
}

// String returns the status in words.
func (s Status) String() string {
	if s.Signal != "" {
		return "killed by " + s.Signal
	}
	return fmt.Sprintf("exit status %d", s.Code)
}
