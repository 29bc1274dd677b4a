package demo

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/text"
)

// narrator prints what happens, with the time since the beginning.
type narrator struct {
	every time.Duration // how often sometimes is at most

	mu    sync.Mutex
	out   io.Writer
	start time.Time
	next  time.Time // when sometimes may speak again
	mute  bool
	err   error
}

// say prints a line.
func (n *narrator) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.line(format, args...)
}

// sometimes prints a line unless one was printed a moment ago.
func (n *narrator) sometimes(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); !n.mute && !now.Before(n.next) {
		n.next = now.Add(n.every)
		n.line("   "+format, args...)
	}
}

// event prints a line that must not be overlooked.
func (n *narrator) event(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.line(">> "+format, args...)
	n.next = time.Now().Add(n.every / 4) // time to see what happens
}

// hush ends what is said sometimes.
func (n *narrator) hush() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute = true
}

// text prints lines without the time.
func (n *narrator) text(lines string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print(lines)
}

func (n *narrator) line(format string, args ...any) {
	// A server may have said part of it.
	n.print(fmt.Sprintf("%5.1fs  %s\n", time.Since(n.start).Seconds(), text.Escape(fmt.Sprintf(format, args...))))
}

func (n *narrator) print(s string) {
	if n.err == nil {
		_, n.err = io.WriteString(n.out, s)
	}
}
