package joint

import "context"

// Held is a lock that is held until it ends.
type Held interface {
	// Err returns nil while the lock is held, and then why it has ended.
	Err() error

	// Context returns a copy of parent that ends with the lock.
	Context(parent context.Context) context.Context
}

// A Context is a context that ends with the first of several locks. It derives from a
// context of each. Like that of one lock, its Err checks the clock.
type Context[L Held] struct {
	context.Context
	locks []L
}

// NewContext returns a copy of parent that ends with the first of locks.
func NewContext[L Held](parent context.Context, locks []L) *Context[L] {
	for _, lock := range locks {
		parent = lock.Context(parent)
	}
	return &Context[L]{parent, locks}
}

// Err returns nil until the context has ended. It ends the context if a lock has ended.
func (c *Context[L]) Err() error {
	if c.Context.Err() == nil {
		for _, lock := range c.locks {
			_ = lock.Err() // ends this context if the lock has ended
		}
	}
	return c.Context.Err()
}
