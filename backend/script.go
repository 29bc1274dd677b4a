package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// Scripter is an optional capability: run a Lua script atomically. Without it a
// lock has no fencing token and no place in a queue, and a SetNX whose reply
// was lost is not sent again.
type Scripter interface {
	// Eval runs s atomically on keys and args and returns its answer. It should
	// send the script's hash, and its text only where the server does not know
	// the hash or may not (see [Loaded]). In a cluster all keys share a slot.
	//
	// The rules of [Node] on deadlines, repetition and errors hold. The caller owns
	// keys and args, and may use these slices again as soon as Eval has returned. So
	// Eval must not read them afterwards, even if ctx ended while they were being
	// written.
	Eval(ctx context.Context, s *Script, keys, args []string) (Reply, error)
}

// A Script is a Lua script with a name for people and the SHA-1 by which
// servers know it. The hash is a constant beside the text, never computed:
// programs must be able to run where SHA-1 is disabled.
type Script struct {
	name, source, hash string
	own                int // how many of its keys are not shared; 0: all
}

// NewScript returns the script with the given text. Hash is the SHA-1 of
// source, in lower-case hexadecimal; it is not checked, but a server refuses
// to run one script for another.
func NewScript(name, source, hash string) *Script {
	return &Script{name: name, source: source, hash: hash}
}

// Shares returns s with all keys after the first own ones being shared: of calls that
// have no other key in common it does not matter which comes first. See [Repeated].
func (s *Script) Shares(own int) *Script {
	shares := *s
	shares.own = own
	return &shares
}

// ownKeys returns which of keys, those of a call, are not shared.
func (s *Script) ownKeys(keys []string) []string {
	if s != nil && s.own > 0 && len(keys) > s.own {
		return keys[:s.own]
	}
	return keys
}

// Name returns the name of the script, for errors and metrics.
func (s *Script) Name() string { return s.name }

// Source returns the text of the script.
func (s *Script) Source() string { return s.source }

// Hash returns the SHA-1 of the text in lower-case hexadecimal.
func (s *Script) Hash() string { return s.hash }

// Loaded remembers which scripts a server has run, for an adapter that sends a
// script's text the first time and its hash from then on: the first use then takes
// one round trip like any other, not two, which matters on a slow network. The
// server may forget all the same, and answer NOSCRIPT, or not know EVALSHA at all. The
// zero value has seen none; its methods may be called concurrently.
type Loaded struct {
	scripts  sync.Map
	textOnly atomic.Bool
}

// Has reports whether s has run, and may be sent as its hash.
func (l *Loaded) Has(s *Script) bool {
	if l.textOnly.Load() {
		return false
	}
	_, ok := l.scripts.Load(s)
	return ok
}

// TextOnly reports whether scripts have to be sent as their text, because the server has
// rejected EVALSHA.
func (l *Loaded) TextOnly() bool { return l.textOnly.Load() }

// Rejects reports whether err, a marked error reply to EVALSHA, says that the server does
// not know this command or does not allow it to the user. Then nothing was executed, the
// script has to be sent as its text, and so have all from then on.
func (l *Loaded) Rejects(err error) bool {
	if !errors.Is(err, ErrRefused) {
		return false
	}
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with") // which is not the server's own
	if !strings.Contains(strings.ToLower(text), "evalsha") {
		return false
	}
	l.textOnly.Store(true)
	return true
}

// Add notes that s has run.
func (l *Loaded) Add(s *Script) { l.scripts.Store(s, struct{}{}) }

// A Reply is what a script answered: a flat list whose elements are int64 or
// string. A script that answers a single value gives a list of one. Nobody may
// change it: several calls may share one list.
type Reply []any

// What scripts answer most, made once and shared for ever.
var no, yes = Reply{int64(0)}, Reply{int64(1)}

// NewReply makes a Reply of what a driver decoded: an int64, a string, a []byte,
// or a []any of these. Anything else, a nil too, is an error.
func NewReply(v any) (Reply, error) {
	switch v {
	case int64(0):
		return no[:1:1], nil
	case int64(1):
		return yes[:1:1], nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	r := make(Reply, len(list))
	for i, e := range list {
		switch e := e.(type) {
		case int64, string:
			r[i] = e
		case []byte:
			r[i] = string(e)
		default:
			return nil, fmt.Errorf("backend: element %d of a script's reply is a %T, want an integer or a string", i, e)
		}
	}
	return r, nil
}

// Int returns element i, which must be an integer.
func (r Reply) Int(i int) (int64, error) {
	if i < 0 || i >= len(r) {
		return 0, fmt.Errorf("backend: a script's reply has %d elements, want number %d", len(r), i)
	}
	n, ok := r[i].(int64)
	if !ok {
		return 0, fmt.Errorf("backend: element %d of a script's reply is a %T, want an integer", i, r[i])
	}
	return n, nil
}

// Text returns element i, which must be a string.
func (r Reply) Text(i int) (string, error) {
	if i < 0 || i >= len(r) {
		return "", fmt.Errorf("backend: a script's reply has %d elements, want number %d", len(r), i)
	}
	s, ok := r[i].(string)
	if !ok {
		return "", fmt.Errorf("backend: element %d of a script's reply is a %T, want a string", i, r[i])
	}
	return s, nil
}
