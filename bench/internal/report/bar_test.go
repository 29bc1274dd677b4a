package report

import (
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

func key(implementation string) measure.Key {
	return measure.Key{Cell: measure.Cell{Work: "idle", Nodes: 1, Clients: 1, Implementation: implementation}, Metric: measure.Time}
}

func results(values map[string][]float64) *measure.Results {
	r := &measure.Results{}
	for implementation, list := range values {
		for _, v := range list {
			r.Add(key(implementation).Cell, measure.Time, v)
		}
	}
	return r
}

func TestJudge(t *testing.T) {
	r := results(map[string][]float64{
		"ours": {10, 20, 30}, "fast": {20, 40, 60}, "slow": {100, 200, 300}, "none": {0, 0, 0}, "once": {0, 3, 0},
	})
	for _, test := range []struct {
		name     string
		bar      Bar
		got      float64
		met      bool
		against  string
		measured bool
	}{
		{"at most, met", Bar{Of: key("ours"), Than: []measure.Key{key("fast")}, Limit: 0.5}, 0.5, true, "fast", true},
		{"at most, missed", Bar{Of: key("ours"), Than: []measure.Key{key("fast")}, Limit: 0.49}, 0.5, false, "fast", true},
		{"at least, met", Bar{Of: key("fast"), Than: []measure.Key{key("ours")}, AtLeast: true, Limit: 2}, 2, true, "ours", true},
		{"at least, missed", Bar{Of: key("fast"), Than: []measure.Key{key("ours")}, AtLeast: true, Limit: 2.1}, 2, false, "ours", true},
		{"at most, the faster of two", Bar{Of: key("ours"), Than: []measure.Key{key("slow"), key("fast")}, Limit: 0.2}, 0.5, false, "fast", true},
		{"at least, the higher of two", Bar{Of: key("ours"), Than: []measure.Key{key("ours"), key("slow")}, AtLeast: true, Limit: 0.2}, 0.1, false, "slow", true},
		{"one of two was not measured", Bar{Of: key("ours"), Than: []measure.Key{key("absent"), key("fast")}, Limit: 1}, 0.5, true, "fast", true},
		{"the best of two", Bar{Of: key("ours"), Than: []measure.Key{key("fast"), key("slow")}, Best: measure.Time, Limit: 0.1}, 0.1, true, "slow", true},
		{"the best of none", Bar{Of: key("ours"), Than: []measure.Key{key("absent")}, Best: measure.Time, Limit: 1}, 0, false, "", false},
		{"beyond, met", Bar{Of: key("slow"), Than: []measure.Key{key("fast")}, Beyond: true, Limit: 160}, 160, true, "fast", true},
		{"beyond, missed", Bar{Of: key("slow"), Than: []measure.Key{key("fast")}, Beyond: true, Limit: 159}, 160, false, "fast", true},
		{"a number, met", Bar{Of: key("none"), Limit: 0}, 0, true, "", true},
		{"a number, missed in one round", Bar{Of: key("once"), Limit: 0}, 3, false, "", true},
		{"at least a number, missed in one round", Bar{Of: key("ours"), AtLeast: true, Limit: 11}, 10, false, "", true},
		{"not measured", Bar{Of: key("absent"), Limit: 1}, 0, false, "", false},
		{"not measured, at least 0", Bar{Of: key("absent"), AtLeast: true}, 0, false, "", false},
		{"nothing to compare with", Bar{Of: key("ours"), Than: []measure.Key{key("absent")}, Limit: 1}, 0, false, "", false},
		{"nothing divided by nothing", Bar{Of: key("none"), Than: []measure.Key{key("none")}, Limit: 1}, 0, false, "", false},
	} {
		v := test.bar.Judge(r)
		if v.Got != test.got || v.Met() != test.met || v.Against != test.against || v.Measured != test.measured {
			t.Errorf("%s: got %v, met %v, against %q, measured %v; want %v, %v, %q, %v",
				test.name, v.Got, v.Met(), v.Against, v.Measured, test.got, test.met, test.against, test.measured)
		}
	}
}

func TestJudgeCounts(t *testing.T) {
	r := results(map[string][]float64{"ours": {10}, "fast": {20}})
	var out strings.Builder
	missed, open := Judge(&out, []Bar{
		{About: "first", Of: key("ours"), Than: []measure.Key{key("fast")}, Limit: 1},
		{About: "second", Of: key("ours"), Than: []measure.Key{key("fast")}, Limit: 0.1},
		{About: "third", Of: key("absent"), Limit: 0.1},
	}, r)
	if missed != 1 || open != 1 {
		t.Errorf("missed %d, open %d, want 1 and 1", missed, open)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"ok      first ÷ fast", "MISSED  second ÷ fast", "-       third", "3 bars: 1 ok, 1 missed, 1 not measured"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want it to begin with %q", i, lines[i], want)
		}
	}
}

// The figures behind this list are the project's promises. Without this test, nobody would notice
// a bar that names no implementation, or one twice.
func TestBarsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, bar := range Bars() {
		if bar.About == "" || bar.Of.Metric == "" || bar.Of.Work == "" || bar.Of.Nodes == 0 || bar.Of.Clients == 0 {
			t.Errorf("an incomplete bar: %+v", bar)
		}
		if seen[bar.About] {
			t.Errorf("two bars are named %q", bar.About)
		}
		seen[bar.About] = true
		for _, than := range bar.Than {
			if than == bar.Of {
				t.Errorf("%s: compared with itself", bar.About)
			}
		}
	}
}
