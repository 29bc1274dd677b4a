package report

import (
	"fmt"
	"io"
	"math"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

// A Bar is what a result is to reach.
type Bar struct {
	About string

	// Of is what the bar is about, in ratio to Than. Of several the one that is
	// hardest to beat counts. Without any the number itself counts, in the worst
	// round.
	Of   measure.Key
	Than []measure.Key

	AtLeast bool // else at most
	Limit   float64
}

// A Verdict is what came of a bar.
type Verdict struct {
	Bar
	Got      float64
	Against  string // the implementation that Got is in ratio to, "" if none or the same
	Measured bool   // else Got means nothing
}

// Met returns whether the bar was reached.
func (v Verdict) Met() bool {
	switch {
	case !v.Measured:
		return false
	case v.AtLeast:
		return v.Got >= v.Limit
	}
	return v.Got <= v.Limit
}

// Judge returns what came of b.
func (b Bar) Judge(r *measure.Results) Verdict {
	v := Verdict{Bar: b}
	if len(b.Than) == 0 {
		least, most, ok := r.Range(b.Of)
		v.Got, v.Measured = most, ok
		if b.AtLeast {
			v.Got = least
		}
		return v
	}
	for _, than := range b.Than {
		ratio, ok := r.Ratio(b.Of, than)
		harder := !v.Measured || b.AtLeast && ratio < v.Got || !b.AtLeast && ratio > v.Got
		if !ok || !harder {
			continue
		}
		v.Got, v.Measured, v.Against = ratio, true, ""
		if than.Implementation != b.Of.Implementation {
			v.Against = than.Implementation
		}
	}
	return v
}

func (v Verdict) String() string {
	word, relation := "MISSED", "at most"
	if v.Met() {
		word = "ok"
	}
	if v.AtLeast {
		relation = "at least"
	}
	got := "not measured"
	if v.Measured {
		got = fmt.Sprintf("%.3g", v.Got)
		if math.Abs(v.Got) >= 1000 {
			got = Number(v.Got)
		}
	} else {
		word = "-"
	}
	about := v.About
	if v.Against != "" {
		about += " ÷ " + v.Against
	}
	return fmt.Sprintf("%-6s  %-98s  %12s, %s %v", word, about, got, relation, v.Limit)
}

// Judge writes a line for each bar. It returns how many were missed, and how many
// are about what was not measured.
func Judge(w io.Writer, bars []Bar, r *measure.Results) (missed, open int) {
	met := 0
	for _, bar := range bars {
		v := bar.Judge(r)
		switch {
		case !v.Measured:
			open++
		case v.Met():
			met++
		default:
			missed++
		}
		fmt.Fprintln(w, v)
	}
	fmt.Fprintf(w, "%d bars: %d ok, %d missed, %d not measured\n", len(bars), met, missed, open)
	return missed, open
}
