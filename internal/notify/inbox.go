package notify

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// A broken subscription is renewed after a random time of up to MinResubscribe. The
	// limit doubles with each attempt, up to MaxResubscribe, and starts over once a
	// subscription has lasted that long.
	MinResubscribe = 10 * time.Millisecond
	MaxResubscribe = time.Second

	// MuteAgain is the pause before another subscription to a node that does not notify.
	MuteAgain = time.Minute
)

// A Node is a node of an [Inbox].
type Node struct {
	Node backend.Node
	Away func() bool     // reports whether the node does not answer
	Mute func(why error) // told why the node does not notify
}

// Config configures an [Inbox]. Its functions must not block, and are called concurrently.
type Config struct {
	Channel string
	Lock    string // a lock that somebody waits for; the nodes publish echoes in its slot
	Nodes   []Node // with a zero Node for each that is not subscribed to

	// Message is called with each message of a node, also with echoes.
	Message func(node int, payload string)

	// Missed is called when a message may have been missed, so that waiters must look for
	// themselves.
	Missed func()

	// Awaited reports whether somebody waits for messages.
	Awaited func() bool
}

// An Inbox is where nodes notify this process: one channel for all keys, and a
// subscription to it on every node that supports this. It has one goroutine for each of
// these nodes, until it is closed. Its methods may be called concurrently.
type Inbox struct {
	cfg    Config
	opened time.Time
	cancel context.CancelFunc

	mu            sync.Mutex
	subscriptions []subscription // by node
	pending       int            // subscriptions that attempts still wait for
	settled       chan struct{}  // closed when none is pending
}

// A subscription is the inbox's subscription on one node.
type subscription struct {
	open    bool // messages arrive, as an echo has shown
	settled bool // attempts no longer wait for it
}

// Open opens an inbox in the background. It must be closed.
func Open(cfg Config) *Inbox {
	ctx, cancel := context.WithCancel(context.Background())
	in := &Inbox{cfg: cfg, opened: time.Now(), cancel: cancel, subscriptions: make([]subscription, len(cfg.Nodes)), settled: make(chan struct{})}
	for _, n := range cfg.Nodes {
		if n.Node != nil {
			in.pending++
		}
	}
	if in.pending == 0 {
		close(in.settled)
	}
	for i, n := range cfg.Nodes {
		if n.Node != nil {
			go in.listen(ctx, i, n)
		}
	}
	return in
}

// Close ends the subscriptions. It does not wait for that.
func (in *Inbox) Close() { in.cancel() }

// Await waits until every subscription is known to work or not to work, ctx ends, or the
// inbox has been open for d. So a node that hangs delays only the first attempt.
func (in *Inbox) Await(ctx context.Context, d time.Duration) {
	select {
	case <-in.settled:
		return
	default:
	}
	timer := time.NewTimer(time.Until(in.opened.Add(d)))
	defer timer.Stop()
	select {
	case <-in.settled:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Hears reports whether messages arrive from node i.
func (in *Inbox) Hears(i int) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.subscriptions[i].open
}

// listen keeps a subscription on node i until ctx ends, or the node refuses
// subscriptions.
func (in *Inbox) listen(ctx context.Context, i int, n Node) {
	pause, again := MinResubscribe, false
	counted := false // waiters may rely on a subscription that is broken
	unknown := 0     // subscriptions in a row that the node did not know of
	for {
		var ready time.Time
		mute, err := in.subscribe(ctx, i, n, func() {
			in.set(i, true)
			if again { // a message may have been missed
				in.cfg.Missed()
			}
			ready, again, counted, unknown = time.Now(), true, true, 0
		})
		in.set(i, false)
		if mute == errUnknown {
			if unknown++; unknown == manyUnknown {
				n.Mute(mute)
			}
			mute = nil
		}
		// A subscription that breaks sooner is of little use, and each new one costs an
		// attempt.
		if !ready.IsZero() && time.Since(ready) >= MaxResubscribe {
			pause = MinResubscribe
		}
		if ctx.Err() != nil {
			return
		}
		refused := errors.Is(err, errors.ErrUnsupported) || errors.Is(err, backend.ErrRefused)
		if refused || mute != nil {
			n.Mute(cmp.Or(mute, err))
			if again { // waiters that rely on it must not continue to sleep
				in.cfg.Missed()
			}
		}
		if refused {
			return
		}
		if mute == nil && ready.IsZero() && counted && !n.Away() {
			// It is not back at once although commands may work, so sleeping waiters must
			// poll.
			counted = false
			in.cfg.Missed()
		}
		wait := rand.N(pause) + 1
		if mute != nil { // until then, tickets that name this inbox are dead
			wait = MuteAgain
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, MaxResubscribe)
	}
}

// subscribe listens on node i until the subscription breaks, with err, or ctx ends. If
// the node's messages do not arrive, subscribe ends the subscription and returns the
// reason in mute. It calls opened when messages arrive.
func (in *Inbox) subscribe(ctx context.Context, i int, n Node, opened func()) (mute, err error) {
	ctx, stop := context.WithCancel(ctx)
	h := &hearing{inbox: in, index: i, node: n.Node, opened: opened, heard: make(chan struct{}, 1)}
	var watching sync.WaitGroup
	subscriber, _ := backend.As[backend.Subscriber](n.Node)
	err = subscriber.Subscribe(ctx, in.cfg.Channel, backend.Events{
		Ready: func() {
			watching.Go(func() {
				if mute = h.watch(ctx); mute != nil {
					stop()
				}
			})
		},
		Message: func(payload string) {
			h.hear()
			in.cfg.Message(i, payload)
		},
	})
	stop()
	watching.Wait()
	return mute, err
}

// set notes whether messages arrive from node i.
func (in *Inbox) set(i int, open bool) {
	in.mu.Lock()
	in.subscriptions[i].open = open
	in.mu.Unlock()
	in.settle(i)
}

// settle notes that attempts need not wait for node i any longer, although it may still
// be heard later.
func (in *Inbox) settle(i int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if e := &in.subscriptions[i]; !e.settled {
		e.settled = true
		if in.pending--; in.pending == 0 {
			close(in.settled)
		}
	}
}
