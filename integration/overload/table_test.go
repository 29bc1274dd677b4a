//go:build unix

package overload

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/quorumlock/quorumlock/integration/internal/stall"
)

// table is what a test measured, with the bound for each figure.
type table struct {
	t     *testing.T
	watch *stall.Watch
	rows  [][3]string
}

// newTable returns a table that is printed when the test ends.
func newTable(t *testing.T, format string, args ...any) *table {
	tb := &table{t: t, watch: stall.Begin()}
	heading := fmt.Sprintf(format, args...)
	t.Cleanup(func() {
		tb.watch.End()
		var text strings.Builder
		w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\nfigure\tvalue\tbound\n")
		for _, row := range tb.rows {
			fmt.Fprintf(w, "%s\t%s\t%s\n", row[0], row[1], row[2])
		}
		w.Flush()
		t.Logf("%s%s", heading, text.String())
	})
	return tb
}

// note adds a figure without a bound.
func (tb *table) note(figure, format string, args ...any) {
	tb.rows = append(tb.rows, [3]string{figure, fmt.Sprintf(format, args...), ""})
}

// arrived fails the test if no forged message reached a subscriber, because the test then proves
// nothing.
func (tb *table) arrived(sent forged) {
	tb.t.Helper()
	if sent.delivered == 0 {
		tb.t.Errorf("forged messages: %v; want some delivered, so that the test proves something", sent)
	}
}

// bound adds a figure, and fails the test if it is not within its bound.
func (tb *table) bound(ok bool, figure, value, bound string) {
	tb.t.Helper()
	if !ok {
		tb.t.Errorf("%s: %s, want %s", figure, value, bound)
		bound += "  BROKEN"
	}
	tb.rows = append(tb.rows, [3]string{figure, value, bound})
}

// atMost and atLeast add figures with a bound on one side. The race detector slows everything
// down by more than the bounds allow. At small size, the figures are then only shown.
func atMost[T cmp.Ordered](tb *table, figure string, value, limit T, format string) {
	tb.t.Helper()
	tb.rate(value <= limit, figure, fmt.Sprintf(format, value), "at most "+fmt.Sprintf(format, limit))
}

func atLeast[T cmp.Ordered](tb *table, figure string, value, limit T, format string) {
	tb.t.Helper()
	tb.rate(value >= limit, figure, fmt.Sprintf(format, value), "at least "+fmt.Sprintf(format, limit))
}

func (tb *table) rate(ok bool, figure, value, bound string) {
	tb.t.Helper()
	if raceDetector && !full() {
		ok, bound = true, bound+" (not judged under the race detector)"
	}
	tb.bound(ok, figure, value, bound)
}

// exactly adds a figure that does not depend on the speed of the machine.
func exactly(tb *table, figure string, value, want int) {
	tb.t.Helper()
	tb.bound(value == want, figure, fmt.Sprint(value), fmt.Sprint(want))
}

// noneLost adds how many locks were lost, which must be none. If the machine has stood still for
// more than a second since newTable, locks may have ended in that time, whatever the code does.
// Then it skips the test, so it comes after all other figures.
func noneLost(tb *table, figure string, lost int) {
	tb.t.Helper()
	if longest := tb.watch.End(); lost > 0 && longest > time.Second {
		tb.t.Skipf("%s: %d, but the machine stood still for %v", figure, lost, longest)
	}
	exactly(tb, figure, lost, 0)
}

// mb converts bytes.
func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }
