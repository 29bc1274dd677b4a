package fencing

import (
	"sync"
	"time"
)

// A lease is a lock that expires, within the test's process. As far as it knows, it has one
// holder at a time, and each grant has the next token of a counter. After ttl it is free for the
// next holder, whatever its holder believes.
type lease struct {
	ttl  time.Duration
	free chan struct{} // holds a value while the lease is free

	mu     sync.Mutex
	last   uint64 // the last token
	holder uint64 // the token of the holder, 0 if there is none
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

// release frees the lease if its token is still this one.
func (l *lease) release(token uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == token {
		l.holder = 0
		l.free <- struct{}{}
	}
}
