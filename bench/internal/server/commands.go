package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Commands counts what servers have executed, by the name of the command. A script counts once,
// and each command in it counts in addition.
type Commands map[string]int64

// setUp lists commands that set up a connection or a subscription, or inspect the server. They
// are not part of the cost of a lock.
var setUp = map[string]bool{
	"auth": true, "client": true, "cluster": true, "command": true, "config": true, "dbsize": true, "hello": true, "info": true,
	"ping": true, "scan": true, "psubscribe": true, "punsubscribe": true, "quit": true, "role": true, "script": true, "select": true,
	"ssubscribe": true, "subscribe": true, "sunsubscribe": true, "unsubscribe": true,
}

// Count returns what the servers together have executed since their start, without the setup of
// connections and subscriptions.
func Count(ctx context.Context, list []*Server) (Commands, error) {
	sum := Commands{}
	for _, s := range list {
		text, err := s.admin.Info(ctx, "commandstats").Result()
		if err != nil {
			return nil, fmt.Errorf("INFO commandstats of %s: %w", s.addr, err)
		}
		if err := sum.parse(text); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// parse adds lines such as "cmdstat_client|setinfo:calls=4,usec=9,…".
func (c Commands) parse(text string) error {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "cmdstat_")
		if !ok {
			continue
		}
		name, stats, _ := strings.Cut(rest, ":")
		base, _, _ := strings.Cut(name, "|")
		if setUp[base] {
			continue
		}
		calls, _, _ := strings.Cut(strings.TrimPrefix(stats, "calls="), ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			return fmt.Errorf("a line of INFO commandstats without calls: %q", line)
		}
		c[name] += n
	}
	return nil
}

// Since returns how many commands were executed since earlier was counted: those with the given
// names, or all if none is given.
func (c Commands) Since(earlier Commands, names ...string) int64 {
	var n int64
	for name, calls := range c {
		if len(names) == 0 || slices.Contains(names, name) {
			n += calls - earlier[name]
		}
	}
	return n
}
