package backend

import "context"

// Subscriber is an optional capability: hear what a server publishes. Without
// it a waiter learns of a release by asking again.
type Subscriber interface {
	// Subscribe listens on channel until ctx ends or the subscription breaks,
	// and blocks all that time.
	//
	// It calls events.Ready once, when every master behind the node has
	// acknowledged the subscription: what is published from then on arrives.
	// It calls events.Message for each message, in the order in which a server
	// published them. The calls come one at a time, none before Ready and none
	// after Subscribe has returned; while one runs, the next waits. A message
	// may come more than once where a node is a cluster.
	//
	// Subscribe returns soon after ctx has ended, with ctx's error. It returns
	// at the first sign that messages may have been missed, such as a broken
	// connection, with an error that says why; it must not reconnect unseen, and
	// must notice within about ten seconds a connection on which nothing comes
	// any more. Where a node is a cluster it must notice as quickly that there
	// are other masters than those which have acknowledged. To go on, the caller subscribes again. An error that matches
	// [errors.ErrUnsupported] says that it is of no use to try.
	//
	// A subscription holds one connection per master, or a share of one, and
	// releases it on return.
	Subscribe(ctx context.Context, channel string, events Events) error
}

// Events is what a [Subscriber] calls. Both functions are set, and do not block
// for long.
type Events struct {
	Ready   func()
	Message func(payload string)
}
