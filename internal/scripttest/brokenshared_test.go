package scripttest_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// elsewhere makes the call with a queue that nobody uses.
func (r run) elsewhere() (backend.Reply, error) {
	r.keys = slices.Clone(r.keys)
	r.keys[1] = r.keys[0] + "{" + r.keys[0] + "}nobody"
	return r.do()
}

// shares makes another call of a script for readers, and ignores the reply.
func (r run) shares(s *backend.Script, args ...string) {
	r.c.server.Eval(r.ctx, s, r.keys[:3], args)
}

// reads reports whether others read the lock.
func (r run) reads() bool { return r.c.value(r.keys[0]) == "~shared" }

// changes returns a function that breaks a client: replies of scripts are changed.
func changes(change func(r run, reply backend.Reply) backend.Reply, of ...*backend.Script) func(c *client) {
	return scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err == nil {
			reply = change(r, reply)
		}
		return reply, err
	}, of...)
}

// brokenShares are nodes whose shared locks are broken.
var brokenShares = []brokenNode{
	{"acquireshared lets only one read", scripts(func(r run) (backend.Reply, error) {
		if r.reads() {
			return backend.Reply{int64(0), int64(1000), int64(-1), "~shared"}, nil
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared", "Eval/acquireshared again", "Eval/acquireshared behind a writer"}},
	{"acquireshared counts a repeated request as another reader", scripts(func(r run) (backend.Reply, error) {
		if r.reads() {
			r.shares(lua.AcquireShared, r.arg(0)+"again", r.arg(1))
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared", "Eval/acquireshared again"}},
	{"acquireshared extends", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err == nil && reply[0] == int64(1) && r.arg(1) == "600000" {
			r.shares(lua.ExtendShared, r.arg(0), r.arg(1))
			return r.do()
		}
		return reply, err
	}, lua.AcquireShared), []string{"Eval/acquireshared again"}},
	{"acquireshared takes a held lock", scripts(func(r run) (backend.Reply, error) {
		if v := r.c.value(r.keys[0]); v != "" && !r.reads() {
			r.also(lua.Release, v)
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared of a held lock", "Eval/acquireshared of a reserved lock"}},
	{"acquireshared takes a stale set for a live one", scripts(func(r run) (backend.Reply, error) {
		free := r.c.value(r.keys[0]) == ""
		reply, err := r.do()
		if free && err == nil && len(r.keys) == 3 && r.c.value(r.keys[0]) != "" {
			r.shares(lua.AcquireShared, "stale", "60000")
		}
		return reply, err
	}, lua.AcquireShared), []string{"Eval/acquireshared of a stale set", "Eval/releaseshared", "Eval/acquireshared with a damaged set"}},
	{"the key outlives its readers", changes(func(r run, reply backend.Reply) backend.Reply {
		if r.reads() {
			r.c.server.Extend(r.ctx, r.keys[0], "~shared", 10*time.Minute)
		}
		return reply
	}, lua.ReleaseShared, lua.RollbackShared), []string{"Eval/acquireshared for its time", "Eval/releaseshared", "Eval/rollbackshared"}},
	{"shares that have ended stay", func(c *client) {
		n := c.FaultNode
		ended := 0
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if s == lua.AcquireShared && err == nil && r[0] == int64(1) {
				ended++
			}
			if s == lua.Inspect && err == nil && len(r) == 4 && strings.HasSuffix(keys[1], ":readers") {
				r[3] = int64(ended)
			}
			return r, err
		}
	}, []string{"Eval/acquireshared beside ended shares"}},
	{"scripts for readers accept any number", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err != nil {
			return backend.Reply{int64(0)}, nil
		}
		return reply, err
	}, lua.AcquireShared, lua.ExtendShared, lua.RollbackShared), []string{"Eval/acquireshared of bad numbers"}},
	{"extendshared shortens", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err == nil && reply[0] == int64(1) {
			r.shares(lua.AcquireShared, "other", "1000")
			r.shares(lua.ReleaseShared, r.arg(0))
			r.shares(lua.AcquireShared, r.arg(0), r.arg(1))
		}
		return reply, err
	}, lua.ExtendShared), []string{"Eval/extendshared"}},
	{"extendshared revives", scripts(func(r run) (backend.Reply, error) {
		reply, err := r.do()
		if err == nil && reply[0] == int64(0) && r.reads() {
			return backend.Reply{int64(1)}, nil
		}
		return reply, err
	}, lua.ExtendShared), []string{"Eval/extendshared", "Eval/extendshared of an ended share", "Eval/acquireshared of a stale set"}},
	{"extendshared does not make readers of holders", scripts(func(r run) (backend.Reply, error) {
		if r.c.value(r.keys[0]) == r.arg(0) {
			return backend.Reply{int64(0)}, nil
		}
		return r.do()
	}, lua.ExtendShared), []string{"Eval/extendshared of a holder", "Eval/extendshared invites"}},
	{"releaseshared frees the lock although others read", changes(func(r run, reply backend.Reply) backend.Reply {
		r.c.server.EvalDelete(r.ctx, r.keys[0], "~shared")
		return reply
	}, lua.ReleaseShared, lua.RollbackShared), []string{"Eval/acquireshared", "Eval/releaseshared", "Eval/rollbackshared", "Eval/releaseshared notifies"}},
	{"releaseshared always says that the token was reading", changes(func(_ run, reply backend.Reply) backend.Reply {
		reply[0] = int64(1)
		return reply
	}, lua.ReleaseShared, lua.RollbackShared), []string{
		"Eval/releaseshared", "Eval/rollbackshared", "Eval/rollbackshared of a holder", "Eval/releaseshared of a waiter"}},
	{"release of a waiter leaves the queue as it is while others read", scripts(func(r run) (backend.Reply, error) {
		if r.reads() && r.arg(1) != "" {
			return r.elsewhere()
		}
		return r.do()
	}, lua.Release), []string{"Eval/release of a writer that waits for readers"}},
	{"releaseshared invites nobody while others read", scripts(func(r run) (backend.Reply, error) {
		if r.reads() && r.arg(1) != "" {
			return r.elsewhere()
		}
		return r.do()
	}, lua.ReleaseShared), []string{"Eval/releaseshared of a former writer"}},
	{"releaseshared leaves the lock of a holder", scripts(func(r run) (backend.Reply, error) {
		if r.c.value(r.keys[0]) == r.arg(0) {
			return backend.Reply{int64(0)}, nil
		}
		return r.do()
	}, lua.ReleaseShared, lua.RollbackShared), []string{"Eval/extendshared of a holder", "Eval/rollbackshared of a holder"}},

	// The queue.
	{"readers pass a writer", scripts(func(r run) (backend.Reply, error) {
		if r.reads() {
			return r.elsewhere()
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared behind a writer"}},
	{"readers that join again wait like others", scripts(func(r run) (backend.Reply, error) { return r.with(5, "") }, lua.AcquireShared),
		[]string{"Eval/acquireshared of a token that reads elsewhere"}},
	{"all readers join as if they joined again", scripts(func(r run) (backend.Reply, error) {
		if len(r.args) > 5 {
			return r.with(5, "1")
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared of a token that reads elsewhere"}},
	{"readers that join again take any lock", scripts(func(r run) (backend.Reply, error) {
		if v := r.c.value(r.keys[0]); r.arg(5) == "1" && v != "" && !r.reads() {
			r.also(lua.Release, v)
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared of a token that reads elsewhere"}},
	{"dead waiters keep readers out", scripts(func(r run) (backend.Reply, error) {
		if t := r.tickets(); r.reads() && len(t) > 0 && t[0] != r.arg(2) {
			return backend.Reply{int64(0), int64(1000), int64(-1), "~shared"}, nil
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared past dead waiters"}},
	{"acquireshared invites nobody", scripts(func(r run) (backend.Reply, error) {
		if t := r.arg(2); t != "" && r.c.value(r.keys[0]) == "~"+t {
			r.also(lua.Release, "", t, "")
			return r.with(2, "")
		}
		return r.do()
	}, lua.AcquireShared), []string{"Eval/acquireshared invites"}},
	{"extendshared invites nobody", scripts(func(r run) (backend.Reply, error) { return r.elsewhere() }, lua.ExtendShared), []string{"Eval/extendshared invites"}},
	{"the last reader skips the first waiter", scripts(func(r run) (backend.Reply, error) {
		if t := r.tickets(); len(t) > 1 && r.reads() {
			r.also(lua.Release, "", t[0], "")
		}
		return r.do()
	}, lua.ReleaseShared, lua.RollbackShared), []string{"Eval/releaseshared notifies"}},
	{"the last reader notifies nobody", scripts(func(r run) (backend.Reply, error) { return r.elsewhere() }, lua.ReleaseShared),
		[]string{"Eval/releaseshared notifies", "Eval/releaseshared of a waiter"}},
	{"every reader announces", changes(func(r run, reply backend.Reply) backend.Reply {
		if channel := r.arg(2); channel != "" && reply[0] == int64(1) && r.reads() {
			r.c.server.SetNX(r.ctx, r.keys[0]+"another", "token", time.Minute)
			r.c.server.Eval(r.ctx, lua.Release, []string{r.keys[0] + "another", r.keys[1] + "another"}, []string{"token", "", channel})
		}
		return reply
	}, lua.ReleaseShared), []string{"Eval/releaseshared announces"}},
	{"rollbackshared always notifies", scripts(func(r run) (backend.Reply, error) { return r.with(3, "1") }, lua.RollbackShared), []string{"Eval/rollbackshared"}},
	{"rollbackshared never notifies", scripts(func(r run) (backend.Reply, error) { return r.with(3, "0") }, lua.RollbackShared), []string{"Eval/rollbackshared"}},
	{"rollbackshared does not queue", scripts(func(r run) (backend.Reply, error) { return r.with(1, "") }, lua.RollbackShared), []string{"Eval/rollbackshared"}},
	{"readers need a queue", scripts(func(r run) (backend.Reply, error) {
		if r.noQueue() {
			return nil, errWrongType
		}
		return r.do()
	}, lua.AcquireShared, lua.ReleaseShared), []string{"Eval/acquireshared with a damaged queue"}},
}
