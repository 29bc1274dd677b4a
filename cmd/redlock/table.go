package main

import (
	"strings"
	"unicode/utf8"
)

// A table has rows of cells, and at the end of each row a note of any length.
type table []row

type row struct {
	cells []string
	note  string
}

func (t *table) add(note string, cells ...string) { *t = append(*t, row{cells, note}) }

// lines returns the table for a terminal with that many columns; 0 means that there is no
// limit. If the cells do not fit, the first cell of each row gets a line of its own. So does
// a note that does not fit behind its cells, which is also wrapped.
func (t table) lines(columns int) []string {
	var widths []int
	for _, r := range t {
		for i, c := range r.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(c))
		}
	}
	total := 0
	for _, w := range widths {
		total += w + len(gap)
	}
	stacked := columns > 0 && total-len(gap) > columns && len(widths) > 1
	var list []string
	for _, r := range t {
		line := ""
		for i, c := range r.cells {
			line += c + strings.Repeat(" ", widths[i]-width(c)) + gap
			if stacked && i == 0 {
				list = append(list, strings.TrimRight(line, " "))
				line = gap
			}
		}
		if r.note == "" || columns == 0 || width(line)+width(r.note) <= columns {
			list = append(list, strings.TrimRight(line+r.note, " "))
			continue
		}
		if line = strings.TrimRight(line, " "); line != "" {
			list = append(list, line)
		}
		list = append(list, wrap(r.note, columns, gap+gap)...)
	}
	return list
}

// gap is between columns.
const gap = "  "

// wrap breaks text between words into lines of at most that many columns; 0 means no
// limit. Each line begins with indent. A word that is longer gets a line of its own.
func wrap(text string, columns int, indent string) []string {
	var list []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = indent + word
		case columns > 0 && width(line)+1+width(word) > columns:
			list = append(list, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	return append(list, line)
}

// cut shortens a line to that many columns.
func cut(line string, columns int) string {
	if width(line) <= columns {
		return line
	}
	return string([]rune(line)[:max(columns-1, 0)]) + "…"
}

// width returns how many columns of a terminal text takes, unless its characters are
// wider or narrower than usual.
func width(text string) int { return utf8.RuneCountInString(text) }

// lines joins lines.
func lines(list []string) string {
	var b strings.Builder
	for _, l := range list {
		b.WriteString(l + "\n")
	}
	return b.String()
}
