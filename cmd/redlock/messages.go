package main

import (
	"bytes"
	"context"
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

	// flushWait is how long the tool waits for a reader before it ends.
	flushWait = time.Second
)

// Messages is where the tool writes what it says. A terminal that is stopped (Ctrl-S), or a
// pipe that nobody reads, must not keep the tool from stopping its command when the lock is
// lost, from extending the lock, or from giving it up after a signal. So each message is
// written on a goroutine of its own, after the one before it.
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

// flush waits until all messages are written, or until it has waited for flushWait. The
// tool ends then, and what is left is dropped.
func (m *messages) flush() {
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	if last == nil {
		return
	}
	wait := time.NewTimer(flushWait)
	defer wait.Stop()
	select {
	case <-last:
	case <-wait.C:
	}
}

// readWait is how long a reader may take for the last output after a signal.
const readWait = 250 * time.Millisecond

// writeUntil writes s to w. If ctx has ended and nobody reads, it returns the cause of that.
func writeUntil(ctx context.Context, w io.Writer, s string) error {
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, s)
		written <- err
	}()
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
	}
	wait := time.NewTimer(readWait)
	defer wait.Stop()
	select {
	case err := <-written:
		return err
	case <-wait.C:
		return context.Cause(ctx)
	}
}

// interruptible is an output that nobody may read any more when ctx has ended.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

// Write implements [io.Writer].
func (i interruptible) Write(p []byte) (int, error) {
	if err := writeUntil(i.ctx, i.w, string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
