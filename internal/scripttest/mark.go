package scripttest

import (
	"time"

	"github.com/quorumlock/quorumlock/backend/lua"
)

func markChecks() []rule {
	return []rule{{
		name: "Eval/mark",
		why:  "if nothing was lost, an operator can end the quarantine at once",
		run: func(t *trial) {
			t.eachSuspect(func(s suspect) {
				for _, held := range []string{"", "x", "0123456789abcdef 4711"} {
					if held != "" {
						s.plants(held)
					}
					run := t.well(s.marker)
					if again := t.well(s.marker); again != run {
						t.Failf("a mark names the run %q, and the next one the run %q", run, again)
					}
					t.Answer(t.Eval(lua.Mark, s.marker, "extra"), "mark with an argument", 1)
				}
				t.lose(s.marker)
				s.isQuarantined(time.Hour, time.Hour, "without a marker")
				t.well(s.marker)
				s.votes(time.Hour, "after the mark")
			})
		},
	}}
}
