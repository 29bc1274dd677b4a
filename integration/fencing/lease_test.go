package fencing

import (
	"sync"
	"time"
)

// A lease is a lock that expires, in the test's own process: it is held by one at a
// time as far as it knows, and each grant has the next token of a counter. When ttl
// is up it goes to the next one, whatever its holder believes.
type lease struct {
	ttl  time.Duration
	free chan struct{} // holds a value while nobody has it

	mu     sync.Mutex
	last   uint64 // the last token
	holder uint64 // the token of who has it, 0 if nobody
}

func newLease(ttl time.Duration) *lease {
	l := &lease{ttl: ttl, free: make(chan struct{}, 1)}
	l.free <- struct{}{}
	return l
}

// acquire waits for the lease and returns the token.
func (l *lease) acquire() uint64 {
	<-l.free
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	token := l.last
	l.holder = token
	time.AfterFunc(l.ttl, func() { l.release(token) })
	return token
}

// release frees the lease if it still is the one of that token.
func (l *lease) release(token uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == token {
		l.holder = 0
		l.free <- struct{}{}
	}
}
