package main

import (
	"encoding/xml"
	"os"
	"strings"
	"testing"
	"time"
)

// The picture has one bar for each step with a lock, as high as the share of its locks, and it
// shows failed calls and a lost lock.
func TestPicture(t *testing.T) {
	p := panel{
		title: "One <server>", names: []string{"server 1"}, back: 3 * time.Second, heldLost: 4 * time.Second,
		granted: []time.Duration{-time.Minute, -time.Second, -time.Second, 3500 * time.Millisecond, time.Minute},
		failed:  []time.Duration{time.Second},
	}
	svg := draw([]panel{p}, "a machine")
	for _, want := range []string{
		`height="80.0"><title>2 locks<`, `height="40.0"><title>1 locks<`, "One &lt;server&gt;", ">lost<", ">dead<", "a machine",
		"the longest time without a new lock is 4.5 s; 1 calls failed; the server is back after 3 s",
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("the picture has no %q", want)
		}
	}
	if n := strings.Count(svg, "locks</title>"); n != 2 {
		t.Errorf("the picture has %d bars, want 2", n)
	}
	wellFormed(t, svg)
	p.heldLost = 0
	if strings.Contains(draw([]panel{p}, ""), ">lost<") {
		t.Error("a lock that survived is shown as lost")
	}
}

// The picture in the docs is one that this program draws.
func TestPictureInTheDocs(t *testing.T) {
	svg, err := os.ReadFile("../../docs/outage.svg")
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, string(svg))
	for _, want := range []string{"3 servers, one of which dies", "One server, which dies", ">a held lock<", " locks</title>"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("docs/outage.svg has no %q: draw it again with go run ./recovery -picture ../docs/outage.svg", want)
		}
	}
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	if err := xml.Unmarshal([]byte(svg), new(struct{})); err != nil {
		t.Errorf("the picture is not XML: %v", err)
	}
}
