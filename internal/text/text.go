// Package text makes what somebody else wrote fit for an error, a log and a terminal:
// server replies, keys, labels and names of nodes. Such text can contain escape sequences
// for the reader's terminal, line breaks that look like the next log entry, characters
// that reverse the order of a line, or a megabyte of anything.
package text

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxLine is the most bytes that Line returns. The longest known replies of servers,
	// about errors in scripts, have half of it.
	maxLine = 600

	// maxName is the most bytes that Name returns, and that Quote puts in quotes.
	maxName = 200
)

// Line returns s with everything that is not printable escaped as %q would, and cut to a
// length that suits one line of a log. It does not quote s: ordinary text stays as it is,
// and so does what Line has returned.
func Line(s string) string { return clip(s, maxLine) }

// Name is Line for a key, a label or the name of a node, which is cut to a shorter length.
func Name(s string) string { return clip(s, maxName) }

// Escape is Line without a limit.
func Escape(s string) string { return clip(s, math.MaxInt) }

// Quote returns s as %q would. If s is long, it quotes the beginning and states the length.
func Quote(s string) string {
	if len(s) <= maxName {
		return strconv.Quote(s)
	}
	end := maxName
	for end > maxName-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return strconv.Quote(s[:end]) + length(s)
}

// length is what follows a text that was cut.
func length(s string) string { return fmt.Sprintf("… (%d bytes)", len(s)) }

// clip returns s escaped, and cut if that has more than most bytes.
func clip(s string, most int) string {
	if len(s) <= most && printable(s) {
		return s
	}
	var b strings.Builder
	tail := len(length(s))
	cut := 0 // how much of b fits with the tail
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		piece := s[i : i+size]
		switch {
		case r == utf8.RuneError && size == 1:
			piece = fmt.Sprintf(`\x%02x`, s[i])
		case !strconv.IsPrint(r):
			piece = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if len(piece) > most-b.Len() {
			return b.String()[:cut] + length(s)
		}
		b.WriteString(piece)
		if b.Len() <= most-tail {
			cut = b.Len()
		}
		i += size
	}
	return b.String()
}

// printable reports whether nothing in s needs an escape.
func printable(s string) bool {
	for i, r := range s {
		if !strconv.IsPrint(r) {
			return false
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}
