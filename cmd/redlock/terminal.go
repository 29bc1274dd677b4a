package main

import (
	"io"
	"os"
	"runtime"

	"golang.org/x/term"
)

// isTerminal reports whether f, an input or an output of the tool, is a terminal.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// screen returns the size of the terminal that w is; 0 and 0 if it is none or has no
// size.
func screen(w io.Writer) (columns, rows int) {
	file, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// columns returns the width of the terminal that w is; 0 if it is none.
func columns(w io.Writer) int {
	columns, _ := screen(w)
	return columns
}

// canRedraw reports whether w is a terminal on which the tool can draw in place. A
// console of Windows may print the control sequences instead.
func canRedraw(w io.Writer) bool {
	kind := os.Getenv("TERM")
	return isTerminal(w) && kind != "" && kind != "dumb" && runtime.GOOS != "windows"
}
