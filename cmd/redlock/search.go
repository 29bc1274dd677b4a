package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// searchStep is how many keys a server looks at in one step of a search. Other commands
// run between steps.
const searchStep = 1000

// search returns the names of all locks whose keys begin with prefix on any server,
// sorted, and the servers that could not be searched. timeout is that of one step.
func (c *connection) search(ctx context.Context, prefix string, timeout time.Duration) ([]string, trouble) {
	var (
		mu    sync.Mutex
		found = make(map[string]bool)
		all   sync.WaitGroup
	)
	note := func(keys []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, key := range keys {
			// SCAN may also return what does not match at the moment.
			if name, ok := strings.CutPrefix(key, prefix); ok && name != "" && proto.SlotConflict(key) == "" {
				found[name] = true
			}
		}
	}
	errs := make([]error, len(c.clients))
	for i, client := range c.clients {
		all.Go(func() { errs[i] = searchServer(ctx, client, prefix, timeout, note) })
	}
	all.Wait()
	t := trouble{size: len(c.names), need: len(c.names)/2 + 1}
	for i, err := range errs {
		if err != nil {
			t.add(c.names[i], cannotSearch(err, timeout))
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, t
}

// searchServer searches one server, or all masters of a Cluster.
func searchServer(ctx context.Context, client redis.UniversalClient, prefix string, timeout time.Duration, note func([]string)) error {
	if cluster, ok := client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
			return scan(ctx, master, prefix, timeout, note)
		})
	}
	if hasOnlyAPart(ctx, client, timeout) {
		return errOnlyAPart
	}
	return scan(ctx, client, prefix, timeout, note)
}

// errOnlyAPart is the error of a search on one server of a Cluster. It would miss locks
// without an error, because SCAN, unlike other commands, does not say where the rest is.
var errOnlyAPart = errors.New("the keys are on several servers")

// hasOnlyAPart reports whether the server belongs to a Cluster of several masters. A
// server that does not say so, or not to this user, is taken for one of its own.
func hasOnlyAPart(ctx context.Context, client redis.UniversalClient, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return false
	}
	for line := range strings.Lines(info) {
		if size, ok := strings.CutPrefix(strings.TrimSpace(line), "cluster_size:"); ok {
			masters, _ := strconv.Atoi(size)
			return masters > 1
		}
	}
	return false
}

func scan(ctx context.Context, client redis.Cmdable, prefix string, timeout time.Duration, note func([]string)) error {
	pattern := globEscape.Replace(prefix) + "*"
	for cursor := uint64(0); ; {
		keys, next, err := scanStep(ctx, client, cursor, pattern, timeout)
		if err != nil {
			return err
		}
		note(keys)
		if next == 0 {
			return nil
		}
		cursor = next
	}
}

func scanStep(ctx context.Context, client redis.Cmdable, cursor uint64, pattern string, timeout time.Duration) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return client.ScanType(ctx, cursor, pattern, searchStep, "string").Result()
}

// globEscape escapes what has a meaning in the patterns of a server.
var globEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`)

// cannotSearch explains why a server could not be searched.
func cannotSearch(err error, waited time.Duration) complaint {
	if errors.Is(err, errOnlyAPart) {
		return oneOfACluster
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		err = backend.MarkReply(err)
	} else {
		err = backend.HideAddress(err)
	}
	said, _ := backend.ServerReply(err)
	c := complain(err, waited)
	switch {
	case strings.HasPrefix(said, "NOPERM"):
		c.remedy = "the user needs +scan to list locks, which shows it all keys of the server; a name needs no such right"
	case strings.Contains(said, "syntax error"):
		c.remedy = "listing needs Redis 6.0 or newer, or Valkey"
	}
	return c
}
