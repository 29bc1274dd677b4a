package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Messages to a reader that reads nothing hold up their writer for a moment each. When it reads
// again, it gets them in order. Of very many, some are dropped.
func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled, w := io.Pipe()
		m := &messages{w: w}
		for i := range maxMessages {
			start := time.Now()
			fmt.Fprintln(m, "line", i)
			if took := time.Since(start); took > writeWait {
				t.Fatalf("message %d took %v", i, took)
			}
		}
		fmt.Fprintln(m, "one too many")
		var got bytes.Buffer
		var reader sync.WaitGroup
		reader.Go(func() { _, _ = io.Copy(&got, stalled) })
		m.flush()
		start := time.Now()
		fmt.Fprintln(m, "last")
		if took := time.Since(start); took > 0 {
			t.Errorf("with a reader, a message took %v", took)
		}
		m.flush()
		w.Close()
		reader.Wait()
		var want bytes.Buffer
		for i := range maxMessages {
			fmt.Fprintln(&want, "line", i)
		}
		fmt.Fprintln(&want, "last")
		if got.String() != want.String() {
			t.Errorf("it read\n%s\nwant\n%s", &got, &want)
		}
		new(messages).flush() // there was none
	})
}

// The end of the tool waits for a moment for a reader that reads nothing.
func TestMessagesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled, w := io.Pipe()
		defer stalled.Close() // so that the write ends
		m := &messages{w: w}
		fmt.Fprintln(m, "never read")
		start := time.Now()
		m.flush()
		if took := time.Since(start); took != flushWait {
			t.Errorf("flush took %v, want %v", took, flushWait)
		}
	})
}
