package attempt

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/round"
)

// A request is one node's part in a round.
type request struct {
	kind    round.Kind
	ttl     time.Duration
	timeout time.Duration // how long the round waits for a node
	value   int64         // raising: the value to raise to
	stay    bool          // releasing: the caller waits on, so the ticket stays in the queue
	call    bool          // with stay: notify the next waiter, because others may rely on it
	all     bool          // releasing: the round waits for every node
	joins   bool          // acquiring: the attempt has won, and this node has notified it
	rejoin  bool          // acquiring: a held lock, whose token this node has lost; releasing: take that back
	leaves  bool          // releasing: only remove the ticket of a holder that has become a reader
	onward  bool          // releasing: only notify the waiter that the previous release did not reach
	round   *round.Round  // nil: nobody waits
}
