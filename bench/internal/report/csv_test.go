package report

import (
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

func TestCSV(t *testing.T) {
	var r measure.Results
	cell := measure.Cell{Work: "idle", Nodes: 3, Clients: 1, Implementation: `odd, "quoted"`}
	for _, v := range []float64{9, 1.5, 3} {
		r.Add(cell, measure.Time, v)
	}
	var out strings.Builder
	if err := CSV(&out, "two cores", &r); err != nil {
		t.Fatal(err)
	}
	want := "# two cores\nwork,nodes,clients,implementation,metric,value\n" +
		"idle,3,1,\"odd, \"\"quoted\"\"\",time_us,3\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}

	var again measure.Results
	if err := ReadCSV(strings.NewReader(want), &again); err != nil {
		t.Fatal(err)
	}
	if got, _ := again.Value(measure.Key{Cell: cell, Metric: measure.Time}); got != 3 || len(again.Keys()) != 1 {
		t.Errorf("read again, it has %v, and %v for the first", again.Keys(), got)
	}
	for _, wrong := range []string{"a,b\n", "work,nodes,clients,implementation,metric,value\nidle,x,1,i,m,3\n"} {
		if err := ReadCSV(strings.NewReader(wrong), &again); err == nil {
			t.Errorf("%q was read", wrong)
		}
	}
}
