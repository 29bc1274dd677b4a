//go:build unix

package overload

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/resp"
)

// inboxes returns the channels to which Lockers have subscribed on a server. It
// waits until there are n.
func inboxes(t *testing.T, s *servers.Server, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var list []string
		for _, name := range s.Do(t, "PUBSUB", "CHANNELS", "*redlock:inbox:*").([]any) {
			list = append(list, name.(string))
		}
		if len(list) == n {
			slices.Sort(list)
			return list
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d inboxes at %s, want %d", len(list), s, n)
		}
	}
}

// target is a channel of a server.
type target struct{ addr, channel string }

// forged says how many messages were published, and how many of them reached a
// subscriber.
type forged struct {
	sent, delivered int64
	wall            time.Duration
}

func (f forged) String() string {
	return fmt.Sprintf("%.0f/s, delivered %.0f/s", float64(f.sent)/f.wall.Seconds(), float64(f.delivered)/f.wall.Seconds())
}

// batch is how many messages a publisher of random keys sends at once.
const batch = 500

// forgeKeys publishes notifications for random keys to each target, rate per
// second in total, until ctx ends.
func forgeKeys(ctx context.Context, t *testing.T, targets []target, rate int) forged {
	t.Helper()
	// Each message has a key of 16 digits, which is overwritten before each batch.
	return forge(ctx, t, targets, func(to target) (commands []byte, next func(), every time.Duration) {
		message := resp.AppendCommand(nil, "PUBLISH", to.channel, "g"+strings.Repeat("0", 16))
		end := len(message) - len("\r\n")
		for range batch {
			commands = append(commands, message...)
		}
		number := uint64(time.Now().UnixNano())
		next = func() {
			for i := range batch {
				key := commands[i*len(message):][end-16 : end]
				number += 0x9e3779b97f4a7c15 // visits every number in a scattered order
				for at, rest := 15, number; at >= 0; at, rest = at-1, rest>>4 {
					key[at] = "0123456789abcdef"[rest&15]
				}
			}
		}
		return commands, next, time.Second * batch * time.Duration(len(targets)) / time.Duration(rate)
	})
}

// forgeKey publishes notifications for one key to the targets in turn, rate per
// second in total, until ctx ends.
func forgeKey(ctx context.Context, t *testing.T, targets []target, key string, rate int) forged {
	t.Helper()
	return forge(ctx, t, targets, func(to target) ([]byte, func(), time.Duration) {
		return resp.AppendCommand(nil, "PUBLISH", to.channel, "g"+key), func() {},
			time.Second * time.Duration(len(targets)) / time.Duration(rate)
	})
}

// forge sends commands to each target on a connection of its own, at an interval,
// until ctx ends. A publisher that cannot keep up sends as fast as it can, but does
// not catch up later.
func forge(ctx context.Context, t *testing.T, targets []target, plan func(target) (commands []byte, next func(), every time.Duration)) forged {
	t.Helper()
	var (
		wg        sync.WaitGroup
		sent      atomic.Int64
		delivered atomic.Int64
		start     = time.Now()
	)
	for at, to := range targets {
		conn, err := net.Dial("tcp", to.addr)
		if err != nil {
			t.Error(err)
			continue
		}
		commands, next, every := plan(to)
		messages := int64(bytes.Count(commands, []byte("PUBLISH")))
		wg.Go(func() { // counts replies: ":1" for a message that has reached a subscriber
			digit := false
			for text := make([]byte, 64<<10); ; {
				n, err := conn.Read(text)
				count := 0
				for _, c := range text[:n] {
					if digit && c != '0' {
						count++
					}
					digit = c == ':'
				}
				delivered.Add(int64(count))
				if err != nil {
					return
				}
			}
		})
		wg.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) })()
			due := time.Now().Add(every * time.Duration(at) / time.Duration(len(targets)))
			for ctx.Err() == nil {
				if pause := time.Until(due); pause > 0 {
					time.Sleep(pause)
				} else if pause < -100*time.Millisecond {
					due = time.Now()
				}
				due = due.Add(every)
				next()
				if _, err := conn.Write(commands); err != nil {
					if ctx.Err() == nil {
						t.Errorf("publisher: %v", err)
					}
					return
				}
				sent.Add(messages)
			}
		})
	}
	wg.Wait()
	return forged{sent.Load(), delivered.Load(), time.Since(start)}
}
