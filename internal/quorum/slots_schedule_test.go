package quorum

import (
	"context"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// slotsOf returns how many may hold the keys of a schedule.
func slotsOf(seed uint64) int { return []int{1, 2, 2, 3, 4, 8}[seed%6] }

// unusualSlots: a waiter may have to look at the slots first, so twice as many gaps as
// without slots may be longer than usual.
const unusualSlots = 50

// The schedules of TestWaitingSchedules, with keys that several may hold: there are never
// too many holders, and no slot stays free while somebody waits.
func TestSlotSchedules(t *testing.T) {
	n := (*schedules + 19) / 20
	if testing.Short() {
		n = min(n, 10)
	}
	total, calm := rushes(t, n, func(seed uint64) *rush { return simulateSlots(t, seed, noRushBug, false, slotsOf(seed)) })
	if n < 100 {
		return
	}
	if problem := gapsOf(calm, unusualSlots); problem != "" {
		t.Error(problem)
	}
	checkHappened(t, total, n/20) // less happens than in TestWaitingSchedules
}

// The schedules notice mistakes with slots, usually after a few hundred. Offers that are not
// passed on cost no more than a grace in nearly all of them: TestOffersArePassedOn notices those.
func TestSlotSchedulesNoticeBugs(t *testing.T) {
	rushesNotice(t, 5000, unusualSlots, func(t *testing.T, seed uint64, b rushBug) *rush {
		return simulateSlots(t, seed, b, true, slotsOf(seed))
	}, quitsSilently, releasesSilently, seesNone, countsOnNodes)
}

// allTaken is what a node answers that sees no free slot.
func allTaken(keys []string) backend.Reply {
	reply := make(backend.Reply, len(keys))
	for i := range reply {
		reply[i] = int64(60_000)
	}
	return reply
}

// counted returns op as a node would understand it that counts holders and does not care
// which slot they have: it acquires any slot that is free there, and finds the slot that
// the token has.
func (l *link) counted(op backend.Op) backend.Op {
	key, token := op.Key, op.Token
	if op.Kind == backend.OpEval {
		if op.Script == lua.Slots {
			return op
		}
		key, token = op.Keys[0], op.Args[0]
	}
	name, _, ok := proto.Slot(key)
	if !ok {
		return op
	}
	acquires := op.Kind == backend.OpSetNX || op.Kind == backend.OpEval && op.Script == lua.Acquire
	free := ""
	for i := range l.p.rush.slots {
		slot := proto.SlotKey(name, i+1)
		e, _ := l.mem.Inspect(context.Background(), slot)
		if e.Found && e.Value == token {
			key, free = slot, ""
			break
		}
		if !e.Found && free == "" {
			free = slot
		}
	}
	if acquires && free != "" {
		key = free
	}
	if op.Kind == backend.OpEval {
		op.Keys = append([]string{key}, op.Keys[1:]...)
	} else {
		op.Key = key
	}
	return op
}

// SetNX makes the mistake of a node that counts.
func (l *link) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if l.p.rush.bug == countsOnNodes {
		key = l.counted(backend.Op{Kind: backend.OpSetNX, Key: key, Token: token}).Key
	}
	return l.FaultNode.SetNX(ctx, key, token, ttl)
}
