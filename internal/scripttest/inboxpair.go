package scripttest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// An inboxPair subscribes to one channel on both nodes.
type inboxPair struct {
	channel string
	a, b    *inbox
}

// openInboxes returns a pair for each channel, or none if a node cannot subscribe.
func openInboxes(ctx context.Context, a, b backend.Node, channels []string) ([]inboxPair, error) {
	var pairs []inboxPair
	for _, channel := range channels {
		pair := inboxPair{channel: channel}
		var err error
		if pair.a, err = openInbox(ctx, a, channel); err == nil {
			if pair.b, err = openInbox(ctx, b, channel); err == nil {
				pairs = append(pairs, pair)
				continue
			}
			pair.a.close()
		}
		for _, pair := range pairs {
			pair.close()
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, nil
		}
		return nil, err
	}
	return pairs, nil
}

func (p inboxPair) close() {
	p.a.close()
	p.b.close()
}

// differ returns an error unless both nodes published the same messages before the
// message last.
func (p inboxPair) differ(last string) error {
	x, err := p.a.until(last)
	if err != nil {
		return fmt.Errorf("the first node: %w", err)
	}
	y, err := p.b.until(last)
	if err != nil {
		return fmt.Errorf("the second node: %w", err)
	}
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Errorf("message %d on %s is %s of one, %s of the other", i+1, check.Quote(p.channel), check.Quote(x[i]), check.Quote(y[i]))
		}
	}
	if len(x) != len(y) {
		return fmt.Errorf("on %s one says %d messages, the other %d", check.Quote(p.channel), len(x), len(y))
	}
	return nil
}

// call returns operations that notify the subscriber of channel, and the message that it
// receives.
func (g *generator) call(channel string) (payload string, ops []backend.Op) {
	lock := channel + " lock"
	both := []string{lock, lock + "{" + lock + "}"}
	return "g" + lock, []backend.Op{
		{Kind: backend.OpSetNX, Key: lock, Token: "x", TTL: 20 * time.Second},
		script(lua.Acquire, both, "y", "20000", "20000:"+channel, "0"),
		script(lua.Release, both, "x"),
	}
}
