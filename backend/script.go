package backend

import (
	"context"
	"fmt"
)

// Scripter is an optional capability: to run a Lua script atomically. Without it a lock
// has no fencing token and no place in a queue, and a SetNX whose reply was lost is not
// sent again.
type Scripter interface {
	// Eval runs s atomically on keys and args and returns its answer. It should send the
	// script's hash, and its text only if the server does not know the hash or does not
	// allow it (adapterkit.Loaded remembers this). In a Cluster all keys share a slot.
	//
	// The rules of [Node] on deadlines, repetition and errors apply. The caller owns keys
	// and args, and may use these slices again as soon as Eval has returned. So Eval must
	// not read them afterwards, even if ctx ended while they were being written.
	Eval(ctx context.Context, s *Script, keys, args []string) (Reply, error)
}

// A Script is a Lua script with a name for people and the SHA-1 by which servers know it.
// The hash is a constant beside the text, never computed: programs must be able to run
// where SHA-1 is disabled.
type Script struct {
	name, source, hash string
	own                int // how many of its keys are not shared; 0 means all
}

// NewScript returns the script with the given text. hash is the SHA-1 of source, in
// lower-case hexadecimal. It is not checked, but a server does not run another script in
// place of this one.
func NewScript(name, source, hash string) *Script {
	return &Script{name: name, source: source, hash: hash}
}

// Shares returns s with all keys after the first own ones being shared. Calls that have
// only shared keys in common may run in any order.
func (s *Script) Shares(own int) *Script {
	shares := *s
	shares.own = own
	return &shares
}

// OwnKeys returns the keys of a call of s that are not shared.
func (s *Script) OwnKeys(keys []string) []string {
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

// A Reply is the answer of a script: a flat list whose elements are int64 or string. A
// script that answers a single value gives a list of one. Nobody may change a Reply,
// because several calls may share one list.
type Reply []any

// The most frequent replies are made once and shared.
var no, yes = Reply{int64(0)}, Reply{int64(1)}

// NewReply makes a Reply from a value that a driver decoded: an int64, a string, a
// []byte, or a []any of these. Anything else, including nil, is an error.
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
