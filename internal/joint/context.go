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
type Context struct {
	context.Context
	each []context.Context // by lock; each derives from the one before
}

// NewContext returns a copy of parent that ends with the first of locks.
func NewContext[L Held](parent context.Context, locks []L) *Context {
	c := &Context{parent, make([]context.Context, len(locks))}
	for i, lock := range locks {
		c.Context = lock.Context(c.Context)
		c.each[i] = c.Context
	}
	return c
}

// Err returns nil until the context has ended. It ends the context if a lock has ended.
func (c *Context) Err() error {
	for _, ctx := range c.each {
		if ctx.Err() != nil { // from now on, those that derive from it have ended too
			break
		}
	}
	return c.Context.Err()
}
