package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/text"
)

// Control sequences of a terminal.
const (
	clearScreen = "\x1b[H\x1b[2J"
	goHome      = "\x1b[H"
	endLine     = "\x1b[K" // clear the rest of the line
	endScreen   = "\x1b[J" // clear the rest of the screen
)

// follow shows what the servers say again and again, until ctx ends.
func (s *status) follow(ctx context.Context) error {
	redraw := canRedraw(s.stdout) && !s.json
	pause := time.NewTicker(s.interval)
	defer pause.Stop()
	var last *snapshot
	for {
		snap, err := s.look(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return &exitError{code: exitFailed, text: "status: " + reason(err)}
		}
		var out string
		switch {
		case s.json:
			out = snap.json() + "\n"
		case redraw:
			columns, rows := screen(s.stdout)
			out = goHome + drawn(s.watched(snap, columns), columns, rows)
			if last == nil {
				out = clearScreen + out
			}
		default:
			if last != nil {
				out = "\n"
			}
			out += lines(s.watched(snap, columns(s.stdout)))
		}
		last = snap
		err = writeUntil(ctx, s.stdout, out)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return &exitError{code: exitFailed, text: "status: cannot write: " + err.Error()}
		}
		select {
		case <-pause.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	if redraw {
		ctx, cancel := context.WithTimeout(context.Background(), flushWait)
		defer cancel()
		_ = writeUntil(ctx, s.stdout, "\n")
	}
	if last == nil {
		return &exitError{code: statusUnknown}
	}
	return last.end()
}

// watched returns a snapshot with the time, and with what would otherwise be printed on
// stderr.
func (s *status) watched(snap *snapshot, columns int) []string {
	list := append([]string{fmt.Sprintf("%s, every %v", snap.at.Format(time.DateTime), s.interval)}, snap.page(columns)...)
	for _, why := range snap.failures() {
		list = append(list, wrap(text.Escape(why), columns, "")...)
	}
	return list
}

// drawn returns lines for a terminal of that size, from its upper left corner. What does
// not fit is cut off. The last row stays free, for the cursor.
func drawn(list []string, columns, rows int) string {
	if rows > 1 && len(list) > rows-1 {
		more := len(list) - (rows - 2)
		list = append(list[:max(rows-2, 0):max(rows-2, 0)], fmt.Sprintf("… and %d more lines", more))
	}
	var b strings.Builder
	for _, line := range list {
		if columns > 0 {
			line = cut(line, columns)
		}
		b.WriteString(line + endLine + "\r\n")
	}
	return b.String() + endScreen
}
