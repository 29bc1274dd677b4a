// Package text makes text from other sources safe for errors, logs and terminals: server
// replies, keys, labels and names of nodes. Such text can contain escape sequences for
// the reader's terminal, line breaks that look like the next log entry, characters that
// reverse the order of a line, or a megabyte of anything.
package text

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxLine is the maximum number of bytes that Line returns. The longest known server
	// replies, about errors in scripts, are half as long.
	maxLine = 600

	// maxName is the maximum number of bytes that Name returns, and that Quote puts in
	// quotes.
	maxName = 200
)

// Line returns s for one line of a log: it escapes what is not printable as %q would, and
// cuts s if it is too long. It adds no quotes. Ordinary text is unchanged, and so is a
// result of Line.
func Line(s string) string { return clip(s, maxLine) }

// Name is Line with a shorter limit, for a key, a label or the name of a node.
func Name(s string) string { return clip(s, maxName) }

// Escape is Line without a limit.
func Escape(s string) string { return clip(s, math.MaxInt) }

// Quote returns s as %q would. If s is long, it quotes only the beginning and adds the
// length.
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

// length returns the note at the end of a text that was cut.
func length(s string) string { return fmt.Sprintf("… (%d bytes)", len(s)) }

// clip returns s escaped, and cut if that is longer than most bytes.
func clip(s string, most int) string {
	if len(s) <= most && printable(s) {
		return s
	}
	var b strings.Builder
	tail := len(length(s))
	cut := 0 // how much of b fits together with the tail
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
