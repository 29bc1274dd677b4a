package rueidis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// Every checkEvery, a subscription checks that its connection is alive. The server has
// checkTime to answer, so a dead connection is found after seven seconds.
const (
	checkEvery = 3 * time.Second
	checkTime  = 4 * time.Second
)

// mastersEvery is how often a subscription to a Cluster asks which servers are masters.
const mastersEvery = 2 * time.Second

// Subscribe implements [backend.Subscriber]. It takes a connection from the client's pool
// for blocking commands (ClientOption.BlockingPoolSize), for a Cluster one to each
// master, and closes it on return. If the server has stopped answering, that can take a
// second. For a Cluster it asks every server that the driver knows for its role every two
// seconds, and ends when the masters have changed. The driver learns of a new server when
// a command is redirected, or by ClientOption.ClusterOption.ShardsRefreshInterval.
//
// The driver ignores ctx while it opens such a connection, and while it waits because the
// pool is full. If ctx ends meanwhile, Subscribe returns. A goroutine then waits until the
// connection can be closed, or the driver gives up: when it has tried to connect for
// ClientOption.Dialer.Timeout (5 s by default), but never while the pool is full. Until
// then, Subscribe fails at once.
func (n *Node) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	known := n.addresses()
	masters := map[string]rueidis.Client{"": n.client}
	if n.cluster {
		timed, cancel := context.WithTimeout(ctx, checkTime)
		found, err := n.masters(timed)
		cancel()
		if err != nil {
			return subscription{}.failed(ctx, err)
		}
		masters = found
	} else if _, err := n.pass(ctx, 0, ""); err != nil {
		return subscription{}.failed(ctx, err)
	}

	inner, end := context.WithCancelCause(ctx)
	s := &subscription{
		channel:  channel,
		acks:     make(chan struct{}),
		messages: make(chan string, 64),
	}
	var listeners sync.WaitGroup
	defer listeners.Wait()
	defer end(nil)
	for address, master := range masters {
		listeners.Go(func() { end(n.listen(inner, s, address, master)) })
	}
	if n.cluster {
		listeners.Go(func() { end(n.watch(inner, masters)) })
	}

	for range masters {
		select {
		case <-s.acks:
		case <-inner.Done():
			return s.failed(ctx, context.Cause(inner))
		}
	}
	events.Ready()

	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case message := <-s.messages:
			events.Message(message)
		case <-check.C:
			if !n.cluster && !maps.Equal(known, n.addresses()) {
				return s.failed(ctx, errMoved)
			}
		case <-inner.Done():
			return s.failed(ctx, context.Cause(inner))
		}
	}
}

// errMoved ends a subscription if a server is no longer the master, or if there are other
// masters.
var errMoved = errors.New("another server is the master now")

// watch returns errMoved when the masters of the Cluster have changed, or the error of
// ctx. While a master is replaced, both it and its successor may say that they are
// replicas. So masters may lack one from the start.
func (n *Node) watch(ctx context.Context, masters map[string]rueidis.Client) error {
	look := time.NewTicker(mastersEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		timed, cancel := context.WithTimeout(ctx, checkTime)
		now, err := n.masters(timed)
		cancel()
		for address := range now {
			if masters[address] == nil {
				return errMoved
			}
		}
		// The connection to a master that does not answer shows whether it still is one.
		if err == nil && len(now) != len(masters) {
			return errMoved
		}
	}
}

// A subscription is what the listeners of one Subscribe share.
type subscription struct {
	channel  string
	acks     chan struct{} // one for each listener whose server has acknowledged
	messages chan string   // what the servers published
}

// failed returns the result of Subscribe when it ends because of err.
func (subscription) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, backend.ErrRefused) && !errors.Is(err, backend.ErrNotExecuted) {
		err = errors.Join(errors.ErrUnsupported, err)
	}
	return fmt.Errorf("rueidis: subscription: %w", err)
}

// listen subscribes on a connection of its own to master and passes on what arrives,
// until ctx ends or the connection breaks. It returns the reason.
func (n *Node) listen(ctx context.Context, s *subscription, address string, master rueidis.Client) error {
	conn, broken, err := n.dedicate(ctx, address, master, rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) {
			select {
			case s.messages <- m.Message:
			case <-ctx.Done():
			}
		},
	})
	if err != nil {
		return err
	}
	defer conn.Close()

	if err := n.check(ctx, s, conn); err != nil {
		return err
	}
	select {
	case s.acks <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case err := <-broken:
			if err == nil { // closed without an error
				err = rueidis.ErrClosing
			}
			return lost(ctx, err)
		case <-check.C:
			if err := n.check(ctx, s, conn); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check subscribes and waits for the acknowledgement. It also serves to check the
// connection later: with both protocols, subscribing again is the only question that
// takes the way of the messages and needs no additional right.
func (n *Node) check(ctx context.Context, s *subscription, conn rueidis.DedicatedClient) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	r := conn.Do(ctx, conn.B().Subscribe().Channel(s.channel).Build())
	if err := failure(ctx, r); err != nil {
		return err
	}
	if !n.cluster {
		return nil
	}
	if master, err := isMaster(ctx, conn); err != nil || !master {
		return cmp.Or(err, errMoved)
	}
	return nil
}

// late has, by the address of the master, how many connections the driver is still to give
// to subscriptions that have ended.
type late struct {
	mu     sync.Mutex
	counts map[string]int
}

func (l *late) has(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[address] > 0
}

func (l *late) add(address string, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = make(map[string]int)
	}
	if l.counts[address] += count; l.counts[address] == 0 {
		delete(l.counts, address)
	}
}

var errLate = errors.New("the driver has not yet given a connection to an earlier subscription: " +
	"the server may not answer, or the pool for blocking commands may be full (ClientOption.BlockingPoolSize)")

// dedicate takes a connection to master from the pool. The channel receives once when the
// connection is lost. The driver may make the goroutine wait for ever, if the pool is
// full. So while one waits whose caller has left, dedicate fails.
func (n *Node) dedicate(ctx context.Context, address string, master rueidis.Client, hooks rueidis.PubSubHooks) (rueidis.DedicatedClient, <-chan error, error) {
	if n.late.has(address) {
		return nil, nil, backend.MarkNotExecuted(errLate)
	}
	type dedicated struct {
		conn   rueidis.DedicatedClient
		broken <-chan error
	}
	ready := make(chan dedicated)
	go func() {
		var d dedicated
		d.conn, _ = master.Dedicate()
		d.broken = d.conn.SetPubSubHooks(hooks)
		select {
		case ready <- d:
		case <-ctx.Done():
			d.conn.Close()
			n.late.add(address, -1)
		}
	}()
	select {
	case d := <-ready:
		return d.conn, d.broken, nil
	case <-ctx.Done():
		n.late.add(address, 1)
		return nil, nil, ctx.Err()
	}
}

// masters returns a client for each master of a Cluster, by address, among the servers
// that the driver knows. If a server does not answer, it may be a master. Then masters
// returns an error in addition to the masters that answered.
func (n *Node) masters(ctx context.Context) (map[string]rueidis.Client, error) {
	type role struct {
		address string
		client  rueidis.Client
		master  bool
		err     error
	}
	nodes := n.client.Nodes()
	roles := make(chan role, len(nodes))
	for address, client := range nodes {
		go func() {
			master, err := isMaster(ctx, client)
			if err != nil {
				err = fmt.Errorf("%s: %w", address, err)
			}
			roles <- role{address, client, master, err}
		}()
	}
	masters := make(map[string]rueidis.Client)
	var first error
	for range nodes {
		select {
		case r := <-roles:
			if r.err != nil && first == nil {
				first = r.err
			}
			if r.master {
				masters[r.address] = r.client
			}
		case <-ctx.Done():
			return masters, cmp.Or(first, ctx.Err())
		}
	}
	if len(masters) == 0 && first == nil {
		first = errors.New("the cluster has no master")
	}
	return masters, first
}

// isMaster asks a server for its role.
func isMaster(ctx context.Context, client rueidis.CommandClient) (bool, error) {
	r := client.Do(ctx, client.B().Role().Build())
	if err := failure(ctx, r); err != nil {
		return false, err
	}
	role, err := r.ToArray()
	if err != nil || len(role) == 0 {
		return false, errors.New("no answer to ROLE that is known")
	}
	name, err := role[0].ToString()
	return name == "master", err
}

// addresses returns the servers that the client has now, as a set.
func (n *Node) addresses() map[string]bool {
	set := make(map[string]bool)
	for address := range n.client.Nodes() {
		set[address] = true
	}
	return set
}
