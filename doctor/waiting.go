package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/text"
)

// echo is the message that the doctor sends to itself.
const echo = "e"

// listen subscribes to a channel as a waiter does, and has the server publish on it.
func (f *facts) listen(ctx context.Context, x *examination) {
	if f.node == nil || f.silent != nil || len(f.rights.denied[waiting]) > 0 || !f.rights.complete() {
		return
	}
	f.heardErr = f.hear(ctx, x)
}

func (f *facts) hear(ctx context.Context, x *examination) error {
	subscriber, ok := backend.As[backend.Subscriber](f.node)
	if !ok {
		return errors.New("the node cannot subscribe (it is not a backend.Subscriber)")
	}
	limited, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	ready, heard, ended := make(chan struct{}), make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- subscriber.Subscribe(limited, x.inbox(f.key), backend.Events{
			Ready: func() { close(ready) },
			Message: func(string) {
				select {
				case heard <- struct{}{}:
				default:
				}
			},
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("SUBSCRIBE failed: %s", text.Line(backend.HideAddress(err).Error()))
	}
	if _, err := f.ask(ctx, "EVAL", lua.Echo.Source(), "1", f.key, x.inbox(f.key), echo); err != nil {
		return fmt.Errorf("PUBLISH failed: %s", text.Line(err.Error()))
	}
	select {
	case <-heard:
		return nil
	case <-limited.Done():
		return fmt.Errorf("a message did not arrive within %v", f.limit)
	}
}

func checkWaiting(f *facts, x *examination) verdict {
	const poll = "waiters are not notified by this server, and poll it"
	switch {
	case !f.rights.complete():
		return notChecked(errNoTrial)
	case len(f.rights.denied[waiting]) > 0:
		return warn(x.allow(), "%s: %s", f.rights.lack(waiting), poll)
	case f.node == nil:
		return notChecked(errNoNode)
	case f.heardErr != nil:
		return warn(x.allow(), "%s: %s", f.heardErr, poll)
	}
	return fine("waiters are notified")
}

var errNoNode = errors.New("the server has no Node")
