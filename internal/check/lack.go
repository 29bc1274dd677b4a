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

// A lack is a capability of the node, or a hook of the test, that is not there.
type lack struct {
	need, why string
	skipped   []string // the checks that need it
}

// String says what is not checked for want of it, in one line: how many checks of which
// groups.
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

// lacks returns what is missing of all that checks need, each with the checks that
// nothing before it in the list rules out.
func (s Suite) lacks(ctx context.Context) []lack {
	var list []lack
	add := func(need, why string) { list = append(list, lack{need: need, why: why}) }
	for _, hook := range append([]Hook{{"Set", s.Server.Set != nil}, {"SetOther", s.Server.SetOther != nil}}, s.Hooks...) {
		if !hook.Set {
			add(hook.Name, "the harness has no "+hook.Name)
		}
	}
	// What the node lacks says more than what the harness does.
	hooks := list
	list = nil
	if n, release, err := s.Server.New(ctx); err == nil && n != nil { // else each check says so
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

// possible returns those of all that need nothing which is missing.
func possible(all []C, lacks []lack) []C {
	return slices.DeleteFunc(slices.Clone(all), func(c C) bool {
		return slices.ContainsFunc(lacks, func(l lack) bool { return slices.Contains(c.Needs, l.need) })
	})
}

// A capability is an optional interface of a node. Ask returns whether the node has it,
// and how a call of it went.
type capability struct {
	name string
	ask  func(ctx context.Context, n backend.Node, name string) (has bool, err error)
}

// capabilities returns all.
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

// asking makes an ask of a call of a T.
func asking[T any](call func(ctx context.Context, t T, name string) error) func(context.Context, backend.Node, string) (bool, error) {
	return func(ctx context.Context, n backend.Node, name string) (bool, error) {
		t, ok := backend.As[T](n)
		if !ok {
			return false, nil
		}
		return true, call(ctx, t, name)
	}
}

// subscribeOnce subscribes until the subscription is ready. One that does not end with
// its ctx fails the checks of subscriptions.
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
