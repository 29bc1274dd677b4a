package proto

import (
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A Prolong extends a lock and the life of its counter, and restores the counter if it was
// lost. Without a fencing token, a lock is extended with [backend.Node.Extend].
type Prolong struct {
	Lock, Counter, Token string
	TTL                  time.Duration // whole milliseconds
	Value                int64         // the fencing token
	Keep                 time.Duration // how long the counter is kept; 0: forever
}

// Op returns the operation of p. It uses the capacity of keys and args as [Acquire.Op] does.
func (p *Prolong) Op(keys, args []string) backend.Op {
	return backend.Op{
		Kind: backend.OpEval, Script: lua.Prolong,
		Keys: append(room(keys), p.Lock, p.Counter),
		Args: append(room(args), p.Token, milliseconds(p.TTL), strconv.FormatInt(p.Value, 10), milliseconds(p.Keep)),
	}
}

// A Raise raises the vote of a token to a value.
type Raise struct {
	Lock, Counter, Token string
	Value                int64
	Keep                 time.Duration // how long the counter is kept; 0: forever
	Check                Check
}

// Op returns the operation of r. It uses the capacity of keys and args as [Acquire.Op] does.
func (r *Raise) Op(keys, args []string) backend.Op {
	keys = append(room(keys), r.Lock, r.Counter)
	args = append(room(args), r.Token, strconv.FormatInt(r.Value, 10), milliseconds(r.Keep))
	keys, args = r.Check.append(keys, args)
	return backend.Op{Kind: backend.OpEval, Script: lua.Raise, Keys: keys, Args: args}
}

// A Mark ends the quarantine of a server.
type Mark struct{ Marker string }

// Op returns the operation of m.
func (m Mark) Op() backend.Op {
	return backend.Op{Kind: backend.OpEval, Script: lua.Mark, Keys: []string{m.Marker}}
}

// An Echo makes a server publish a payload to an inbox, in the same way as a
// notification.
type Echo struct{ Lock, Channel, Payload string }

// Op returns the operation of e.
func (e Echo) Op() backend.Op {
	return backend.Op{Kind: backend.OpEval, Script: lua.Echo, Keys: []string{e.Lock}, Args: []string{e.Channel, e.Payload}}
}
