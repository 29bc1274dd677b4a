package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// writeWait is how long a message may hold up the tool, so that the messages of the tool
	// and of its command keep their order.
	writeWait = 50 * time.Millisecond

	// maxMessages is how many messages may wait. Others are dropped.
	maxMessages = 64
)

// Messages is where a command that runs under a lock writes what it says. A terminal that
// is stopped (Ctrl-S), or a pipe that nobody reads, must not keep the tool from stopping the
// command when the lock is lost, or from extending the lock. So each message is written on a
// goroutine of its own, after the one before it.
type messages struct {
	w io.Writer

	mu      sync.Mutex
	waiting int
	last    chan struct{} // closed when the last message is written; nil: there was none
}

// Write takes one message. It waits a moment until it is written.
func (m *messages) Write(message []byte) (int, error) {
	done := m.add(bytes.Clone(message))
	wait := time.NewTimer(writeWait)
	defer wait.Stop()
	select {
	case <-done:
	case <-wait.C:
	}
	return len(message), nil
}

// add returns a channel that is closed when the message is written, or nil if it is dropped.
func (m *messages) add(message []byte) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting == maxMessages {
		return nil
	}
	before, done := m.last, make(chan struct{})
	m.last = done
	m.waiting++
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		_, _ = m.w.Write(message)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.waiting--
	}()
	return done
}

// flush waits until all messages are written.
func (m *messages) flush() {
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	if last != nil {
		<-last
	}
}
