package report

import (
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

func TestPage(t *testing.T) {
	var r measure.Results
	add := func(implementation, metric string, value float64) {
		r.Add(measure.Cell{Work: "distinct", Nodes: 1, Clients: 64, Implementation: implementation}, metric, value)
	}
	add("quorumlock/redigo", measure.Rate, 90_000)
	add("quorumlock/redigo", measure.CPU, 8)
	add("raw/redigo", measure.Rate, 100_000)
	add("ceiling/redigo 1x64", measure.Rate, 1)
	add("ceiling/redigo 2x32", measure.Rate, 2)
	const page = `# Page
<!-- figures machine -->
<!-- end -->
between
<!-- figures loaded -->
| old | table |
<!-- end -->
<!-- figures drain -->
kept, because nothing was measured
<!-- end -->
<!-- figures bars -->
<!-- end -->
after
`
	got, err := Page(page, "a machine", &r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Page\n<!-- figures machine -->\na machine.\n<!-- end -->\nbetween\n",
		"| 1 | quorumlock/redigo | 90 000 | 8 | – | – | – |\n",
		"| 1 | ceiling/redigo 2x32 | 2 |",
		"kept, because",
		"pairs/s, the driver's own two commands ÷ raw/redigo | ≥ 1.1 | **0.900** |\n",
		"<!-- end -->\nafter\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q:\n%s", want, got)
		}
	}
	for _, unwanted := range []string{"old", "1x64", "rueidis"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("the page has %q", unwanted)
		}
	}
	if again, err := Page(got, "a machine", &r); err != nil || again != got {
		t.Errorf("the second time: %v, changed: %v", err, again != got)
	}
	if _, err := Page("<!-- figures unheard-of -->\n<!-- end -->\n", "", &r); err == nil || !strings.Contains(err.Error(), "unheard-of") {
		t.Errorf("a section that is not known: %v", err)
	}
}
