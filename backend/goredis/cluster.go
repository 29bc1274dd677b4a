package goredis

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// topologyTimeout limits how long the driver searches for a server that sends the map
	// of the cluster.
	topologyTimeout = 10 * time.Second

	// maxFollows is how many commands of one batch follow their redirections at the same
	// time. If all of them hang, a [guard] allows as many other ones.
	maxFollows = maxStrays / 2

	// maxClones is the most copies of the driver's clients that are kept, one for each
	// server that was ever a master.
	maxClones = 256
)

// cluster is the route to the masters of a Redis Cluster, or to the master behind a
// Sentinel client that distributes reads.
//
// The driver's cluster client has no copy that honours deadlines. So the driver only
// keeps the map of the cluster. Commands go to copies of its clients for the masters,
// each of which is a route to one server. Only the few commands that a server redirects
// go through the cluster client itself.
type cluster struct {
	client *redis.ClusterClient
	guard  guard
	mapped atomic.Bool   // the driver has a map, so asking for a master needs no I/O
	moves  atomic.Uint64 // how often a server answered that another one has the slot

	mu      sync.Mutex
	loading *topology
	clones  map[*redis.Client]*single
}

// A topology is the result of reading the map once. masters and err are set when done is
// closed.
type topology struct {
	done    chan struct{}
	masters []*redis.Client
	err     error
}

func (r *cluster) process(ctx context.Context, c *command) error {
	if err := r.ready(ctx); err != nil {
		return err
	}
	m, err := r.master(ctx, c.key)
	if err != nil {
		return err
	}
	return r.follow(ctx, c, m.process(ctx, c))
}

func (r *cluster) pipeline(ctx context.Context, cs []*command) {
	if err := r.ready(ctx); err != nil {
		fail(cs, err)
		return
	}
	groups := make(map[*single][]*command)
	for _, c := range cs {
		m, err := r.master(ctx, c.key)
		if err != nil {
			c.err = err
			continue
		}
		groups[m] = append(groups[m], c)
	}
	var wg sync.WaitGroup
	for m, group := range groups {
		delete(groups, m)
		if len(groups) == 0 { // the last one needs no goroutine
			m.pipeline(ctx, group)
			break
		}
		wg.Go(func() { m.pipeline(ctx, group) })
	}
	wg.Wait()
	// Each redirection takes further round trips. While a slot moves, there may be as many as
	// commands, so one after the other would take too long.
	turns := make(chan struct{}, maxFollows)
	for _, c := range cs {
		if !isRedirection(c.err) {
			c.err = r.follow(ctx, c, c.err)
			continue
		}
		turns <- struct{}{}
		wg.Go(func() {
			c.err = r.follow(ctx, c, c.err)
			<-turns
		})
	}
	wg.Wait()
}

// masters reads the map of the cluster again. Only one goroutine does so at a time,
// however many callers wait for it, because the driver ignores deadlines there.
func (r *cluster) masters(ctx context.Context) ([]*redis.Client, error) {
	r.mu.Lock()
	t := r.loading
	if t == nil {
		t = &topology{done: make(chan struct{})}
		r.loading = t
		go r.load(t)
	}
	r.mu.Unlock()

	select {
	case <-t.done:
		return t.masters, t.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// watch reads the map at the given interval, and within an eighth of it after a command
// was sent on to another master. It returns errMoved when the masters have changed, or
// the error of ctx.
//
// This is necessary because a server that became a replica keeps its subscribed
// connections, and a server that joined has none.
func (r *cluster) watch(ctx context.Context, masters []*redis.Client, every time.Duration) error {
	look := time.NewTicker(every / 8)
	defer look.Stop()
	read, moves := time.Now(), r.moves.Load()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		seen := r.moves.Load()
		if seen == moves && time.Since(read) < every {
			continue
		}
		// If no server sends the map, the connections will show the cause.
		if now, err := r.masters(ctx); err == nil && !sameMasters(now, masters) {
			return errMoved
		}
		read, moves = time.Now(), seen
	}
}

// sameMasters reports whether a and b are the same, in any order.
func sameMasters(a, b []*redis.Client) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(m *redis.Client) bool { return !slices.Contains(b, m) })
}

func (r *cluster) load(t *topology) {
	ctx, cancel := context.WithTimeout(context.Background(), topologyTimeout)
	defer cancel()
	var mu sync.Mutex
	t.err = r.client.ForEachMaster(ctx, func(_ context.Context, m *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		t.masters = append(t.masters, m)
		return nil
	})
	if t.err == nil {
		r.mapped.Store(true)
		if len(t.masters) == 0 {
			t.err = errNoMasters
		}
	}
	r.mu.Lock()
	r.loading = nil
	r.mu.Unlock()
	close(t.done)
}

// ready returns nil when the driver has a map of the cluster.
func (r *cluster) ready(ctx context.Context) error {
	if r.mapped.Load() {
		return nil
	}
	_, err := r.masters(ctx)
	return err
}

// known returns the route to the master of key, or nil if the driver has no map yet.
func (r *cluster) known(key string) *single {
	if !r.mapped.Load() {
		return nil
	}
	m, err := r.master(context.Background(), key)
	if err != nil {
		return nil
	}
	return m
}

// master returns the route to the master of key. It does no I/O.
func (r *cluster) master(ctx context.Context, key string) (*single, error) {
	m, err := r.client.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	return r.clone(m), nil
}

func (r *cluster) clone(m *redis.Client) *single {
	r.mu.Lock()
	defer r.mu.Unlock()
	own, ok := r.clones[m]
	if !ok {
		if r.clones == nil || len(r.clones) >= maxClones {
			r.clones = make(map[*redis.Client]*single)
		}
		own = newSingle(m)
		r.clones[m] = own
	}
	return own
}

// follow sends c on to the right server if a server answered that it is not responsible.
// Nothing has run then. The cluster client does this, because it knows where to send the
// command and how, even for a slot that is being moved.
func (r *cluster) follow(ctx context.Context, c *command, err error) error {
	switch {
	case isRedirection(err):
		if _, ask := redis.IsAskError(err); !ask { // ASK is about one key only
			r.moves.Add(1)
		}
		_, err = r.guard.run(ctx, []*command{c}, func() error { return r.client.Process(ctx, c) })
	case err != nil && !isReply(err):
		// The master may have been replaced, so have the map read again. The driver does
		// that in the background, once at a time.
		r.client.ReloadState(ctx)
	}
	return err
}
