package report

import (
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

func TestTable(t *testing.T) {
	var r measure.Results
	cell := measure.Cell{Work: "idle", Nodes: 1, Clients: 1, Implementation: "quick"}
	r.Add(cell, measure.Time, 12.34)
	r.Add(cell, measure.Allocs, 7)
	cell.Implementation = "slow"
	r.Add(cell, measure.Time, 123456)
	var out strings.Builder
	if err := Table(&out, &r); err != nil {
		t.Fatal(err)
	}
	want := "\nidle, 1 node, 1 client\n" +
		"         time_us  allocs\n" +
		"  quick     12.3       7\n" +
		"   slow  123 456        \n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0123: "0.012", 1: "1", 1.234: "1.23", 12.34: "12.3", 999.6: "1 000", 1234567: "1 234 567", -12345: "-12 345",
	} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
}
