package inspect

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/sender"
)

const timeout = 100 * time.Millisecond

// A rig is a set of nodes in memory, called a, b, c …, of which a majority is needed.
type rig struct {
	t     *testing.T
	mem   []*memory.Node
	fault []*faulty.FaultNode
	away  error // why the last node is not asked about slots
}

func (r *rig) Size() int { return len(r.mem) }
func (r *rig) Need() int { return len(r.mem)/2 + 1 }

func (r *rig) NoSlots(i int, _ string) error {
	if i < len(r.mem)-1 {
		return nil
	}
	return r.away
}

func (r *rig) Node(i int) (backend.Node, string) { return r.fault[i], name(i) }

// onRig runs f in a bubble of virtual time, with a rig of that size. Afterwards, calls that
// hang have as long as a call may take. The bubble fails the test if a goroutine is left then.
func onRig(t *testing.T, size int, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		for i := range size {
			mem := memory.New(memory.WithName(name(i)))
			r.mem, r.fault = append(r.mem, mem), append(r.fault, faulty.NewFaultNode(mem))
		}
		defer time.Sleep(sender.CallTimeout)
		f(t, r)
	})
}

// What a node holds at the key "k", in the tests.
const (
	free   = ""
	down   = "down"   // the node fails
	hangs  = "hangs"  // it does not answer
	reader = "reader" // the token "us" reads there
	others = "others" // another token reads there
)

// hold puts what each node holds.
func (r *rig) hold(nodes []string) {
	r.t.Helper()
	for i, value := range nodes {
		ttl := time.Duration(i+1) * time.Minute
		switch value {
		case free:
		case down:
			r.fault[i].Set(faulty.Refuse(nil))
		case hangs:
			r.fault[i].Set(faulty.Chain(faulty.IgnoreContext(), faulty.Delay(sender.CallTimeout)))
		case reader:
			r.share(i, "us", ttl)
		case others:
			r.share(i, "other", ttl)
		default:
			r.mem[i].Set("k", value, ttl)
		}
	}
}

// share makes token read "k" on node i.
func (r *rig) share(i int, token string, ttl time.Duration) {
	r.t.Helper()
	a := proto.Acquire{Lock: "k", Token: token, TTL: ttl}
	a.Wait.Queue, _ = proto.QueueKey("k")
	a.Readers, _ = proto.ReadersKey("k")
	if res := a.Op(nil, nil).Do(context.Background(), r.mem[i]); res.Err != nil {
		r.t.Fatal(res.Err)
	}
}

func name(i int) string { return string(rune('a' + i)) }
