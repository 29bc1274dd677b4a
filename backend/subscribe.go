package backend

import "context"

// Subscriber is an optional capability: to receive what a server publishes. Without it a
// waiter learns of a release by asking again.
type Subscriber interface {
	// Subscribe listens on channel until ctx ends or the subscription breaks, and blocks
	// all that time.
	//
	// It calls events.Ready once, when every master behind the node has acknowledged the
	// subscription. Everything that is published from then on arrives. It calls
	// events.Message for each message, in the order in which a server published them.
	// Only one of these functions runs at a time, none before Ready and none after
	// Subscribe has returned. In a Cluster, a message may arrive more than once.
	//
	// Soon after ctx has ended, Subscribe returns ctx's error. It returns at the first
	// sign that messages may have been missed, such as a broken connection, with an error
	// that says why; it must not reconnect unseen, and must notice within about ten
	// seconds a connection on which nothing comes any more. Where a node is a cluster it
	// must notice as quickly that there are other masters than those which have
	// acknowledged. To continue, the caller subscribes again. An error that matches
	// [errors.ErrUnsupported] means that this would be useless.
	//
	// A subscription holds one connection to each master, or a share of one, and releases
	// it on return.
	Subscribe(ctx context.Context, channel string, events Events) error
}

// Events are the functions that a [Subscriber] calls. Both are set, and do not block for
// long.
type Events struct {
	Ready   func()
	Message func(payload string)
}
