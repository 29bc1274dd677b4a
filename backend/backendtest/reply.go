package backendtest

import (
	"context"
	"errors"
	"strings"

	"github.com/quorumlock/quorumlock/backend"
)

// errorReplies returns error replies of servers, at least one for each mark. The meaning of the
// last ones is unknown. MOVED and ASK are not among them, because a client of a Cluster follows
// them.
func errorReplies() []string {
	return []string{
		"NOAUTH no", "WRONGPASS no", "NOPERM no", "CROSSSLOT no", "DENIED no", "FENCE no", "NORUNID no",
		"LOADING no", "READONLY no", "MASTERDOWN no", "CLUSTERDOWN no", "TRYAGAIN no", "OOM no", "MISCONF no", "NOREPLICAS no", "BUSY no",
		"QUARANTINE no",
		"ERR unknown command 'x'", "ERR max number of clients reached", "ERR operation not permitted",
		"ERR no", "NO no", "FENCES no", "NOPERMISSION no",
	}
}

// marked fails the check unless err, which o returned for an error reply, has exactly the marks
// that MarkReply gives to that reply.
func (t *trial) marked(err error, what, text string) {
	if err == nil {
		t.Failf("%s has no error, although the server answers with %q", what, text)
	}
	if _, rest, _ := strings.Cut(text, " "); !strings.Contains(err.Error(), rest) {
		t.Failf("%s has the error %q, which does not contain the server's answer %q", what, err, text)
	}
	asItIs := backend.MarkReply(errors.New(text))
	for _, mark := range []struct {
		err  error
		name string
	}{
		{backend.ErrRefused, "ErrRefused"}, {backend.ErrNotExecuted, "ErrNotExecuted"}, {backend.ErrQuarantined, "ErrQuarantined"}, {backend.ErrMigrating, "ErrMigrating"},
		{backend.ErrNotMaster, "ErrNotMaster"},
		{errors.ErrUnsupported, "errors.ErrUnsupported"}, {context.DeadlineExceeded, "context.DeadlineExceeded"},
	} {
		if mark.err == errors.ErrUnsupported && strings.HasPrefix(text, "ERR unknown command") {
			continue // a server without the command can also lack the capability
		}
		switch want := errors.Is(asItIs, mark.err); {
		case errors.Is(err, mark.err) == want:
		case want:
			t.Failf("%s has an error without the mark %s, although the server answers with %q: error replies must go through MarkReply", what, mark.name, text)
		default:
			t.Failf("%s has an error with the mark %s, although the server answers with %q", what, mark.name, text)
		}
	}
}

const whyMarked = "the marks say whether to try again, and whether there is something to clean up; without them, a user who lacks a right would wait until the deadline"

func repliesChecks() []rule {
	return []rule{{
		name: "Eval/error replies",
		why:  whyMarked,
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			t.Supported(t.replies("ERR no").Err)
			for _, text := range errorReplies() {
				r := t.replies(text)
				t.marked(r.Err, "Eval", text)
				t.answers() // after some of these replies, the node looks for another server
			}
		},
	}}
}

// replies runs the script that returns an error.
func (t *trial) replies(text string) backend.Result {
	ctx, cancel := context.WithTimeout(t.Ctx, call)
	defer cancel()
	return backend.Op{Kind: backend.OpEval, Script: reply, Keys: []string{t.Name()}, Args: []string{text}}.Do(ctx, t.Node)
}

func batchRepliesChecks() []rule {
	return []rule{{
		name:  "Batch/error replies",
		needs: []string{"Scripter"},
		why:   whyMarked,
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			has[backend.Scripter](t, "Scripter")
			ops := func(key, token, text string) []backend.Op {
				return []backend.Op{
					{Kind: backend.OpSetNX, Key: key, Token: token, TTL: long},
					{Kind: backend.OpEval, Script: reply, Keys: []string{key}, Args: []string{text}},
					{Kind: backend.OpEvalDelete, Key: key, Token: token},
				}
			}
			t.batch(b, ops(t.Name(), t.Name(), "ERR no"))
			for _, text := range errorReplies() {
				results := t.results(b, ops(t.Name(), t.Name(), text))
				t.marked(results[1].Err, "a script in a batch", text)
				for _, r := range []backend.Result{results[0], results[2]} {
					if !r.OK || r.Err != nil {
						t.Failf("an operation next to a script in a batch = %v, %v, want true, although the server answers the script with %q", r.OK, r.Err, text)
					}
				}
				t.answers()
			}
		},
	}}
}

func rejectedChecks() []rule {
	var all []rule
	for _, o := range operations() {
		if o.commands == 0 {
			continue
		}
		all = append(all, rule{
			name:  "error reply/" + o.name,
			needs: o.needs,
			why:   whyMarked,
			run: func(t *trial) {
				t.Need(t.h.Reject != nil, "Reject")
				t.heals()
				for _, text := range append(errorReplies(), "NOSCRIPT no") {
					key, token := t.Name(), t.Name()
					o.prepare(t, key, token)
					restore, err := t.h.Reject(t.Ctx, t.Node, text)
					if err != nil {
						t.Failf("the harness cannot Reject: %w", err)
					}
					ctx, cancel := context.WithTimeout(t.Ctx, call)
					err = o.do(t, ctx, key, token)
					cancel()
					restore()
					if err == nil {
						t.Failf("%s has no error: Reject of the harness rejects nothing, or the node treats %q as an answer", o.name, text)
					}
					t.marked(err, o.name, text)
					t.answers()
				}
			},
		})
	}
	return all
}
