package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A lack is a missing capability of the node, or a missing hook of the test.
type lack struct {
	need, why string
	skipped   []string // the checks that need it
}

// String says in one line how many checks of which groups cannot run because of l.
func (l lack) String() string {
	var groups []string
	count := map[string]int{}
	for _, name := range l.skipped {
		group, _, _ := strings.Cut(name, "/")
		if count[group]++; count[group] == 1 {
			groups = append(groups, group)
		}
	}
	for i, group := range groups {
		groups[i] = fmt.Sprintf("%d of %s", count[group], group)
	}
	checks := "1 check is"
	if n := len(l.skipped); n > 1 {
		checks = fmt.Sprintf("%d checks are", n)
	}
	return fmt.Sprintf("%s: %s not made (%s)", l.why, checks, strings.Join(groups, ", "))
}

// lacks returns the capabilities and hooks that checks need and that are missing. Each
// has the checks that need it, except those already listed for an earlier one.
func (s Suite) lacks(ctx context.Context) []lack {
	var list []lack
	add := func(need, why string) { list = append(list, lack{need: need, why: why}) }
	for _, hook := range append([]Hook{{"Set", s.Server.Set != nil}, {"SetOther", s.Server.SetOther != nil}}, s.Hooks...) {
		if !hook.Set {
			add(hook.Name, "the harness has no "+hook.Name)
		}
	}
	// A capability that the node lacks says more than a missing hook, so it comes first.
	hooks := list
	list = nil
	if n, release, err := s.Server.New(ctx); err == nil && n != nil { // otherwise each check reports this
		prefix := s.prefix()
		for _, c := range capabilities() {
			ctx, cancel := context.WithTimeout(ctx, Call)
			has, err := c.ask(ctx, n, prefix+Random())
			cancel()
			switch {
			case !has:
				add(c.name, "the node is no "+c.name)
			case errors.Is(err, errors.ErrUnsupported):
				add(c.name, fmt.Sprintf("the node is no %s here: %v", c.name, err))
			}
		}
		if release != nil {
			release()
		}
	}
	list = append(list, hooks...)
	for _, c := range s.Checks {
		for i := range list {
			if slices.Contains(c.Needs, list[i].need) {
				list[i].skipped = append(list[i].skipped, c.Name)
				break
			}
		}
	}
	return slices.DeleteFunc(list, func(l lack) bool { return len(l.skipped) == 0 })
}

// possible returns the checks that need nothing missing.
func possible(all []C, lacks []lack) []C {
	return slices.DeleteFunc(slices.Clone(all), func(c C) bool {
		return slices.ContainsFunc(lacks, func(l lack) bool { return slices.Contains(c.Needs, l.need) })
	})
}

// A capability is an optional interface of a node. ask reports whether the node has it,
// and the error of a call.
type capability struct {
	name string
	ask  func(ctx context.Context, n backend.Node, name string) (has bool, err error)
}

// capabilities returns all capabilities that checks may need.
func capabilities() []capability {
	return []capability{
		{"Scripter", asking(func(ctx context.Context, s backend.Scripter, name string) error {
			_, err := s.Eval(ctx, lua.Inspect, []string{name}, nil)
			return err
		})},
		{"Batcher", asking(func(ctx context.Context, b backend.Batcher, name string) error {
			for _, r := range b.Batch(ctx, []backend.Op{{Kind: backend.OpEvalDelete, Key: name}}) {
				return r.Err
			}
			return nil
		})},
		{"Namer", asking(func(context.Context, backend.Namer, string) error { return nil })},
		{"Partitioner", asking(func(context.Context, backend.Partitioner, string) error { return nil })},
		{"Subscriber", asking(subscribeOnce)},
	}
}

// asking returns an ask function for the capability T, which makes the given call.
func asking[T any](call func(ctx context.Context, t T, name string) error) func(context.Context, backend.Node, string) (bool, error) {
	return func(ctx context.Context, n backend.Node, name string) (bool, error) {
		t, ok := backend.As[T](n)
		if !ok {
			return false, nil
		}
		return true, call(ctx, t, name)
	}
}

// subscribeOnce subscribes until the subscription is ready. It ignores a subscription
// that does not end with its ctx, because the checks of subscriptions report that.
func subscribeOnce(ctx context.Context, s backend.Subscriber, channel string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Subscribe(ctx, channel, backend.Events{Ready: cancel, Message: func(string) {}}) }()
	select {
	case err := <-done:
		return err
	case <-time.After(Call + Patience):
		return nil
	}
}
