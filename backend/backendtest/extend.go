package backendtest

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func extendChecks() []rule {
	return []rule{{
		name: "Extend/own",
		why:  "the holder relies on the lock for as long as it was extended",
		run: func(t *trial) {
			var key, token string
			var ttl time.Duration
			t.InTime(func(d time.Duration) error {
				key, token, ttl = t.Name(), t.Name(), d
				t.SetNX(key, token, ttl, true, "a free key")
				if !t.TryExtend(key, token, long) {
					return errors.New("a key by its holder: Extend = false, want true")
				}
				return nil
			})
			t.Wait(ttl + 20*time.Millisecond)
			t.SetNX(key, t.Name(), long, false, "a key that was extended, after the end of its first life")
			t.EvalDelete(key, token, true, "a key that was extended, by its holder")
		},
	}, {
		name: "Extend/ttl",
		why:  "an extended lock whose holder died must become free after the time of the extension, in milliseconds, and not earlier",
		run: func(t *trial) {
			const ttl = 3 * short
			t.Expires(ttl, "a key that was extended", func(key, token string) (time.Duration, bool) {
				t.SetNX(key, token, 2*short, true, "a free key")
				began := t.Clock()
				return began, t.TryExtend(key, token, ttl)
			})
		},
	}, {
		name: "Extend/foreign",
		why:  "a caller must not extend another holder's lock, or get true for it",
		run: func(t *trial) {
			key, token, other := t.Name(), t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.Extend(key, other, long, false, "a key that another token holds")
			t.EvalDelete(key, other, false, "a key, by a token that tried to extend it")
			t.EvalDelete(key, token, true, "a key, by its holder, after another tried to extend it")
		},
	}, {
		name: "Extend/foreign changes nothing",
		why:  "an extension that was refused must not extend the life of the key",
		run: func(t *trial) {
			var key string
			began := t.Clock()
			t.InTime(func(ttl time.Duration) error {
				key = t.Name()
				began = t.Clock()
				t.SetNX(key, t.Name(), ttl, true, "a free key")
				if t.TryExtend(key, t.Name(), long) {
					return errors.New("a key that another token holds: Extend = true, want false")
				}
				return nil
			})
			t.AwaitFree(key, t.Name(), began, 0, "a key that another tried to extend")
		},
	}, {
		name: "Extend/missing",
		why:  "a key that an extension creates has no quorum behind it, because the lock was lost, and another may hold it",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.Extend(key, token, long, false, "a key that does not exist")
			t.Extend(key, "", long, false, "a key that does not exist, with the empty token")
			t.SetNX(key, t.Name(), long, true, "a key that was extended in vain")
		},
	}, {
		name: "Extend/expired",
		why:  "an expired lock is lost, and another may hold it now",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, short, true, "a free key")
			t.Wait(2 * short)
			t.Extend(key, token, long, false, "a key that has expired")
			t.SetNX(key, t.Name(), long, true, "a key that has expired and was extended in vain")
		},
	}, {
		name: "Extend/never shortens",
		why:  "if a short extension arrives after a long one, the server must not expire the lock before the holder expects",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.Extend(key, token, short, true, "a key by its holder, for less than remains")
			t.Wait(2 * short)
			t.SetNX(key, t.Name(), long, false, "a key that was extended for less than remained")
			t.EvalDelete(key, token, true, "a key that was extended for less than remained, by its holder")
		},
	}, {
		name:  "Extend/no expiry",
		needs: []string{"Set"},
		why:   "a key without an expiry outlives every extension, so an expiry would shorten its life",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.Set(key, token, backend.NoExpiry)
			t.Extend(key, token, short, true, "a key without an expiry, by its holder")
			t.Wait(2 * short)
			t.SetNX(key, t.Name(), long, false, "a key without an expiry that was extended")
			if _, ok := optional[backend.Scripter](t, "Scripter"); ok {
				if e := t.Inspect(key); e.TTL != backend.NoExpiry {
					t.Failf("a key without an expiry that was extended has a ttl of %v, want none", e.TTL)
				}
			}
		},
	}, {
		name:  "Extend/rounds up",
		needs: []string{"Scripter"},
		why:   "the holder relies on the whole time to live, including the fraction of a millisecond",
		run: func(t *trial) {
			t.roundsUp(func(key, token string, ttl time.Duration) {
				t.SetNX(key, token, ttl-time.Second, true, "a free key")
				t.Extend(key, token, ttl, true, "a key by its holder")
			})
		},
	}}
}
