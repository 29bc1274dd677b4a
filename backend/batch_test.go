package backend_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

var double = backend.NewScript("double", "return {KEYS[1], ARGV[1] * 2}", "0000000000000000000000000000000000000000")

// scripted is a stub that also runs scripts.
type scripted struct{ stub }

func (s *scripted) Eval(_ context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	s.asked = "Eval " + script.Name() + " " + strings.Join(keys, ",") + " " + strings.Join(args, ",")
	return backend.Reply{keys[0], int64(42)}, nil
}

func TestOpDo(t *testing.T) {
	for _, tc := range []struct {
		op   backend.Op
		want string
	}{
		{backend.Op{Kind: backend.OpSetNX, Key: "k", Token: "t", TTL: time.Second}, "SetNX k t 1s"},
		{backend.Op{Kind: backend.OpEvalDelete, Key: "k", Token: "t", TTL: time.Second}, "EvalDelete k t"},
		{backend.Op{Kind: backend.OpExtend, Key: "k", Token: "t", TTL: time.Minute}, "Extend k t 1m0s"},
		{backend.Op{Kind: backend.OpEval, Script: double, Keys: []string{"k"}, Args: []string{"21"}}, "Eval double k 21"},
	} {
		t.Run(tc.op.Kind.String(), func(t *testing.T) {
			n := &scripted{}
			r := tc.op.Do(t.Context(), transparent{n})
			if r.Err != nil || n.asked != tc.want {
				t.Errorf("asked %q, error %v, want %q", n.asked, r.Err, tc.want)
			}
			if script := tc.op.Kind == backend.OpEval; r.OK == script || (len(r.Reply) == 2) != script {
				t.Errorf("the result is %+v", r)
			}
		})
	}
}

func TestOpDoCannot(t *testing.T) {
	n := &stub{}
	r := backend.Op{Kind: backend.OpEval, Script: double, Keys: []string{"k"}}.Do(t.Context(), n)
	if !errors.Is(r.Err, errors.ErrUnsupported) || !backend.NotExecuted(r.Err) || !strings.Contains(r.Err.Error(), "double") {
		t.Errorf("a script on a node without scripts: %v", r.Err)
	}
	for _, kind := range []backend.OpKind{0, backend.OpEval + 1, 255} {
		r := backend.Op{Kind: kind, Key: "k", Token: "t", TTL: time.Second}.Do(t.Context(), n)
		if r.Err == nil || !backend.NotExecuted(r.Err) || r.OK || r.Reply != nil {
			t.Errorf("%v: %+v", kind, r)
		}
	}
	if n.asked != "" {
		t.Errorf("the node was asked %q", n.asked)
	}
}

// failing is a node that answers every call with an error.
type failing struct{ err error }

func (n failing) SetNX(context.Context, string, string, time.Duration) (bool, error) {
	return false, n.err
}
func (n failing) EvalDelete(context.Context, string, string) (bool, error) { return false, n.err }
func (n failing) Extend(context.Context, string, string, time.Duration) (bool, error) {
	return false, n.err
}
func (n failing) Eval(context.Context, *backend.Script, []string, []string) (backend.Reply, error) {
	return nil, n.err
}

func TestOpDoPassesErrorsOn(t *testing.T) {
	want := errors.New("broken pipe")
	for kind := backend.OpSetNX; kind <= backend.OpEval; kind++ {
		r := backend.Op{Kind: kind, Script: double, Keys: []string{"k"}}.Do(t.Context(), failing{want})
		if r.Err != want {
			t.Errorf("%v: the error is %v, want %v unchanged", kind, r.Err, want)
		}
	}
}

func TestOpKindString(t *testing.T) {
	for kind, want := range map[backend.OpKind]string{
		backend.OpSetNX: "SetNX", backend.OpEvalDelete: "EvalDelete", backend.OpExtend: "Extend", backend.OpEval: "Eval",
		0: "OpKind(0)", 200: "OpKind(200)",
	} {
		if got := kind.String(); got != want {
			t.Errorf("OpKind %d is named %q, want %q", uint8(kind), got, want)
		}
	}
}
