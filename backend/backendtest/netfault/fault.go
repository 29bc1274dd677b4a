package netfault

import (
	"context"
	"slices"
	"strings"
)

// A Match selects commands. args begins with the name, as the client wrote it.
type Match func(args []string) bool

// Command matches the commands of these names. Case does not matter.
func Command(names ...string) Match {
	return func(args []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, args[0]) })
	}
}

// With matches the commands that m matches and that have arg as one of their arguments, for
// example a key.
func (m Match) With(arg string) Match {
	return func(args []string) bool { return m(args) && slices.Contains(args[1:], arg) }
}

type faultKind int

const (
	loseReply faultKind = iota
	loseRequest
	stallRequest
	rejectRequest
)

// A Fault hits the next commands that match. A command is hit by at most one fault, the oldest
// that matches.
type Fault struct {
	p     *Proxy
	kind  faultKind
	match Match
	reply string // the error of rejectRequest

	// Protected by p.mu:
	left    int // number of commands that it will still hit
	hits    int
	removed bool
}

// LoseReply lets the next n commands that match run, and loses their replies. When the server's
// reply reaches the proxy, the proxy drops it and cuts the connection. Other commands that are
// under way on that connection may have run or not.
func (p *Proxy) LoseReply(n int, match Match) *Fault { return p.add(loseReply, n, match) }

// LoseRequest cuts the connection instead of passing the next n commands that match, so they
// never run.
func (p *Proxy) LoseRequest(n int, match Match) *Fault { return p.add(loseRequest, n, match) }

// StallRequest holds the next n commands that match, and everything after them on their
// connections, until [Fault.Remove]. A command is delivered even if its client has given up and
// closed its connection.
func (p *Proxy) StallRequest(n int, match Match) *Fault { return p.add(stallRequest, n, match) }

// Reject answers the next n commands that match with an error reply, such as "NOPERM no". The
// server does not get them.
func (p *Proxy) Reject(n int, match Match, reply string) *Fault {
	return p.inject(&Fault{p: p, kind: rejectRequest, match: match, left: n, reply: reply})
}

func (p *Proxy) add(kind faultKind, n int, match Match) *Fault {
	return p.inject(&Fault{p: p, kind: kind, match: match, left: n})
}

func (p *Proxy) inject(f *Fault) *Fault {
	p.change(func() { p.faults = append(p.faults, f) })
	return f
}

// Hits returns how many commands the fault has hit: how many connections it has cut, or how many
// commands it has stalled or rejected.
func (f *Fault) Hits() int {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	return f.hits
}

// Wait waits until [Fault.Hits] is at least n. If ctx ends first, it returns ctx's error.
func (f *Fault) Wait(ctx context.Context, n int) error {
	return f.p.wait(ctx, func() bool { return f.hits >= n })
}

// Remove ends the fault. Commands that it has stalled go on to the server.
func (f *Fault) Remove() {
	f.p.change(func() {
		f.removed = true
		f.p.faults = slices.DeleteFunc(f.p.faults, func(other *Fault) bool { return other == f })
	})
}

func (f *Fault) hit() { f.p.change(func() { f.hits++ }) }

// faultFor returns the fault that hits a command, or nil. The caller must hold the lock.
func (p *Proxy) faultFor(args []string) *Fault {
	for _, f := range p.faults {
		if f.left == 0 || !f.match(args) {
			continue
		}
		f.left--
		if f.kind == stallRequest || f.kind == rejectRequest {
			f.hits++
		}
		return f
	}
	return nil
}
