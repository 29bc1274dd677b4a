package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// What a server says cannot control the terminal.
func TestNarratorEscapes(t *testing.T) {
	var out bytes.Buffer
	n := &narrator{out: &out}
	err := errors.New("ERR \x1b[2J\r\n\u202e\xff")
	n.say("%v", err)
	n.sometimes("%v", err)
	n.event("FAILED: %v", err)
	if got := strings.Count(out.String(), `ERR \x1b[2J\r\n\u202e\xff`+"\n"); got != 3 || strings.ContainsAny(out.String(), "\x1b\r\u202e") {
		t.Errorf("the output is %q", out.String())
	}
}
