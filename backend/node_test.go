package backend_test

import (
	"context"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// stub is a node that grants everything and records the last call.
type stub struct{ asked string }

func (s *stub) SetNX(_ context.Context, key, token string, ttl time.Duration) (bool, error) {
	s.asked = "SetNX " + key + " " + token + " " + ttl.String()
	return true, nil
}

func (s *stub) EvalDelete(_ context.Context, key, token string) (bool, error) {
	s.asked = "EvalDelete " + key + " " + token
	return true, nil
}

func (s *stub) Extend(_ context.Context, key, token string, ttl time.Duration) (bool, error) {
	s.asked = "Extend " + key + " " + token + " " + ttl.String()
	return true, nil
}

// named is a stub with a name.
type named struct {
	stub
	name string
}

func (n *named) Name() string { return n.name }

// transparent is a wrapper that As may unwrap, and opaque one that it may not.
type transparent struct{ inner backend.Node }

func (w transparent) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return w.inner.SetNX(ctx, key, token, ttl)
}

func (w transparent) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	return w.inner.EvalDelete(ctx, key, token)
}

func (w transparent) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return w.inner.Extend(ctx, key, token, ttl)
}

func (w transparent) Unwrap() backend.Node { return w.inner }

type opaque struct{ backend.Node }

// renamed is a transparent wrapper with its own name.
type renamed struct{ transparent }

func (renamed) Name() string { return "outer" }

func TestAs(t *testing.T) {
	inner := &named{name: "inner"}
	for _, tc := range []struct {
		name string
		node backend.Node
		want string // the name found, or ""
	}{
		{"the node itself", inner, "inner"},
		{"behind one wrapper", transparent{inner}, "inner"},
		{"behind three wrappers", transparent{transparent{transparent{inner}}}, "inner"},
		{"the outermost name counts", renamed{transparent{inner}}, "outer"},
		{"behind an opaque wrapper", opaque{inner}, ""},
		{"an opaque wrapper within", transparent{opaque{inner}}, ""},
		{"nowhere", transparent{&stub{}}, ""},
		{"a wrapper of nothing", transparent{nil}, ""},
		{"no node", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, ok := backend.As[backend.Namer](tc.node)
			if ok != (tc.want != "") {
				t.Fatalf("found: %v", ok)
			}
			if ok && n.Name() != tc.want {
				t.Errorf("found %q, want %q", n.Name(), tc.want)
			}
			if !ok && n != nil {
				t.Errorf("found nothing, but returned %v", n)
			}
		})
	}
	if got, ok := backend.As[*named](transparent{inner}); !ok || got != inner {
		t.Errorf("As of a concrete type = %v, %v", got, ok)
	}
}
