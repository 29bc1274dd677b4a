package netfault

import (
	"context"
	"slices"
	"strings"
)

// A Match picks commands. args holds the name first, as the client wrote it.
type Match func(args []string) bool

// Command matches the commands of these names. Case does not matter.
func Command(names ...string) Match {
	return func(args []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, args[0]) })
	}
}

// With matches the commands that m matches and that have arg as one of their
// arguments: a key, say.
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

// A Fault waits for the next commands that match, and befalls them. A command
// meets at most one fault, the oldest that matches.
type Fault struct {
	p     *Proxy
	kind  faultKind
	match Match
	reply string // of rejectRequest: the error

	// Under p.mu:
	left    int // commands that it is yet to befall
	hits    int
	removed bool
}

// LoseReply lets the next n commands that match run and loses their replies: when
// the server's reply reaches the proxy, it is thrown away and the connection is
// cut. Other commands under way on that connection may have run or not.
func (p *Proxy) LoseReply(n int, match Match) *Fault { return p.add(loseReply, n, match) }

// LoseRequest cuts the connection in place of passing the next n commands that
// match, so they never run.
func (p *Proxy) LoseRequest(n int, match Match) *Fault { return p.add(loseRequest, n, match) }

// StallRequest keeps the next n commands that match, and whatever follows them on
// their connections, from the server until [Fault.Remove]. A command whose client
// has given up and closed its connection is delivered all the same.
func (p *Proxy) StallRequest(n int, match Match) *Fault { return p.add(stallRequest, n, match) }

// Reject answers the next n commands that match with an error reply, such as "NOPERM no",
// in place of the server, which never runs them.
func (p *Proxy) Reject(n int, match Match, reply string) *Fault {
	return p.befall(&Fault{p: p, kind: rejectRequest, match: match, left: n, reply: reply})
}

func (p *Proxy) add(kind faultKind, n int, match Match) *Fault {
	return p.befall(&Fault{p: p, kind: kind, match: match, left: n})
}

func (p *Proxy) befall(f *Fault) *Fault {
	p.change(func() { p.faults = append(p.faults, f) })
	return f
}

// Hits returns how many commands it has befallen: connections that were cut, or
// commands that were stalled or rejected.
func (f *Fault) Hits() int {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	return f.hits
}

// Wait waits until [Fault.Hits] is at least n. It returns ctx's error if that
// ends first.
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

// strike returns the fault that a command is to meet, nil if none. It is called under
// the lock.
func (p *Proxy) strike(args []string) *Fault {
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
