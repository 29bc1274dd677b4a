package member

import (
	"strconv"
	"sync/atomic"

	"github.com/quorumlock/quorumlock/backend"
)

// A label is the name of a node in messages: its own name, or its position with the
// address of its server once that is known.
type label struct {
	name      string
	addresser backend.Addresser // nil if the name is enough
	last      atomic.Pointer[located]
}

// A located is a label's text with the address in it.
type located struct{ address, text string }

func newLabel(n backend.Node, position int) *label {
	l := &label{name: "node " + strconv.Itoa(position)}
	if a, ok := backend.As[backend.Addresser](n); ok {
		if _, instead := a.Address(); instead {
			l.addresser = a
			return l
		}
	}
	if name, ok := NameOf(n); ok {
		l.name = name
	}
	return l
}

// NameOf returns the name that n gives itself, if any.
func NameOf(n backend.Node) (name string, ok bool) {
	if namer, ok := backend.As[backend.Namer](n); ok {
		name = namer.Name()
	}
	return name, name != ""
}

// String returns the current label.
func (l *label) String() string {
	if l.addresser == nil {
		return l.name
	}
	address, _ := l.addresser.Address()
	if address == "" {
		return l.name
	}
	last := l.last.Load()
	if last == nil || last.address != address {
		last = &located{address, l.name + " (" + address + ")"}
		l.last.Store(last)
	}
	return last.text
}
