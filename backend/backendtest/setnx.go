package backendtest

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func setNXChecks() []rule {
	return []rule{{
		name: "SetNX/free",
		why:  "a caller that gets true must hold the lock, under its token",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.EvalDelete(key, t.Name(), false, "the key just taken, with another token")
			t.EvalDelete(key, token, true, "the key just taken, with its token")
			t.SetNX(key, t.Name(), long, true, "a key that was deleted")
		},
	}, {
		name: "SetNX/held by another",
		why:  "a lock must never have two holders, and a held key is an answer, not an error",
		run: func(t *trial) {
			key, token, other := t.Name(), t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.SetNX(key, other, long, false, "a key that another token holds")
			t.EvalDelete(key, other, false, "a key, by the token that was refused")
			t.EvalDelete(key, token, true, "a key, by its holder, after another was refused")
		},
	}, {
		name: "SetNX/held by itself",
		why:  "true means a new grant with its full time to live; only the acquire script may report that a grant's reply was lost",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.SetNX(key, token, long, false, "a key that this very token holds")
		},
	}, {
		name: "SetNX/ttl",
		why:  "a lock whose holder died must become free after its time to live, in milliseconds, and not earlier",
		run: func(t *trial) {
			t.Expires(short, "a key with a ttl", func(key, token string) (time.Duration, bool) {
				began := t.Clock()
				t.SetNX(key, token, short, true, "a free key")
				return began, true
			})
		},
	}, {
		name: "SetNX/refusal changes nothing",
		why:  "a waiter that asks repeatedly must not keep a dead holder's lock alive",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			began := t.Clock()
			t.InTime(func(ttl time.Duration) error {
				key, token = t.Name(), t.Name()
				began = t.Clock()
				t.SetNX(key, token, ttl, true, "a free key")
				if t.TrySetNX(key, token, long) || t.TrySetNX(key, t.Name(), long) {
					return errors.New("SetNX of a held key = true, want false")
				}
				return nil
			})
			t.AwaitFree(key, t.Name(), began, 0, "a key for which two were refused")
		},
	}, {
		name:  "SetNX/rounds up",
		needs: []string{"Scripter"},
		why:   "the holder relies on the whole time to live, including the fraction of a millisecond",
		run: func(t *trial) {
			t.roundsUp(func(key, token string, ttl time.Duration) {
				t.SetNX(key, token, ttl, true, "a free key")
			})
		},
	}}
}

// roundsUp fails the check if hold, which lets key live for ttl, cuts off the fraction of a
// millisecond. Only an immediate look at the key can show that, and not every time. If the look
// shows more than the whole milliseconds, the fraction was kept. If it shows less before a
// millisecond has passed, the fraction was lost.
func (t *trial) roundsUp(hold func(key, token string, ttl time.Duration)) {
	has[backend.Scripter](t, "Scripter")
	const whole = 5 * time.Second
	for try := range 200 {
		key, token := t.Name(), t.Name()
		began := t.Clock()
		hold(key, token, whole+1)
		if try%2 == 1 { // the server's millisecond is more likely to change
			t.Wait(300 * time.Microsecond)
		}
		e := t.Inspect(key)
		took := t.Clock() - began
		t.EvalDelete(key, token, true, "a key, by its holder")
		switch {
		case e.TTL > whole:
			return
		case e.TTL < whole && took < time.Millisecond:
			t.Failf("a key with a ttl of %v lives for %v after %v: want the fraction rounded up", whole+1, e.TTL, took)
		}
	}
	t.Skipf("the server or this machine is too slow for this check")
}
