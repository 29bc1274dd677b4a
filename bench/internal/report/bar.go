package report

import (
	"fmt"
	"io"
	"math"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
)

// A Bar is a goal for a result.
type Bar struct {
	About string

	// Of is the result, as a ratio to Than. If Than has several keys, the one that is hardest to
	// beat counts. If it has none, the number itself counts, in the worst round.
	Of   measure.Key
	Than []measure.Key

	// Best is a metric. If it is set, only the key in Than counts whose cell has most of it.
	Best string

	Beyond  bool // Of counts as the difference to Than, not as the ratio
	AtLeast bool // otherwise at most
	Limit   float64
}

// A Verdict is the result of a bar.
type Verdict struct {
	Bar
	Got      float64
	Against  string // the implementation in Than that counts; "" if there is none, or it is the same one
	Measured bool   // otherwise Got means nothing
}

// Met reports whether the bar was met.
func (v Verdict) Met() bool {
	switch {
	case !v.Measured:
		return false
	case v.AtLeast:
		return v.Got >= v.Limit
	}
	return v.Got <= v.Limit
}

// Judge returns the verdict on b.
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
	compare := r.Ratio
	if b.Beyond {
		compare = r.Beyond
	}
	for _, than := range b.candidates(r) {
		ratio, ok := compare(b.Of, than)
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

// candidates returns the keys in Than that count.
func (b Bar) candidates(r *measure.Results) []measure.Key {
	if b.Best == "" {
		return b.Than
	}
	var best []measure.Key
	most := 0.0
	for _, than := range b.Than {
		if v, ok := r.Value(measure.Key{Cell: than.Cell, Metric: b.Best}); ok && (best == nil || v > most) {
			best, most = []measure.Key{than}, v
		}
	}
	return best
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
	return fmt.Sprintf("%-6s  %-98s  %12s, %s %v", word, v.about(), got, relation, v.Limit)
}

// about returns what is compared with what.
func (v Verdict) about() string {
	switch {
	case v.Against == "":
		return v.About
	case v.Beyond:
		return v.About + " − " + v.Against
	}
	return v.About + " ÷ " + v.Against
}

// Judge writes a line for each bar. It returns the number of missed bars, and of bars without a
// measurement.
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
