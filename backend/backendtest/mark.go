package backendtest

import (
	"slices"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

func markChecks() []check {
	return []check{{
		name: "Eval/mark",
		why:  "who says that a server is well must know which one he means: what another has said since must stand",
		run: func(t *trial) {
			f := t.fenced()
			marker := f.counter
			marks := func(want, before string, ok int64, stands, situation string) {
				if r := t.eval(lua.Mark, marker, want, before); !slices.Equal(r, backend.Reply{ok, stands}) {
					t.failf("mark with %q after %q, %s, answers %v, want {%d, %q}", want, before, situation, brief(r), ok, stands)
				}
			}
			marks("run 1", "run 0", 0, "", "of a server without a marker")
			t.missing(marker, "after a mark in vain, the marker")
			marks("run 1\x00\xff", "", 1, "run 1\x00\xff", "of a server without a marker")
			marks("run 1\x00\xff", "", 1, "run 1\x00\xff", "again")
			marks("run 1\x00\xff", "run 7", 1, "run 1\x00\xff", "again, after another")
			for _, before := range []string{"", "run 1", "run 2"} {
				marks("run 2", before, 0, "run 1\x00\xff", "of a server that is marked")
			}
			marks("run 2", "run 1\x00\xff", 1, "run 2", "of a server that is marked so")
			if r := t.eval(lua.Inspect, marker); !slices.Equal(r, backend.Reply{int64(1), "run 2", int64(-1)}) {
				t.failf("the marker is %v, want {1, \"run 2\", -1}", brief(r))
			}
			f.fails(lua.Mark, []string{marker}, "", "run 2")
			f.unchanged("run 2", "after a mark of nothing")
			list := t.name()
			t.other(list)
			if r := t.eval(lua.Mark, list, "run 1", ""); !slices.Equal(r, backend.Reply{int64(0), ""}) {
				t.failf("mark of a list answers %v, want {0, \"\"}", brief(r))
			}
		},
	}}
}
