package backendtest

func deleteChecks() []rule {
	return []rule{{
		name: "EvalDelete/own",
		why:  "a released lock must be free for the next holder, and a second release finds nothing",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.EvalDelete(key, token, true, "a key, by its holder")
			t.EvalDelete(key, token, false, "a key that was deleted")
			t.SetNX(key, t.Name(), long, true, "a key that was deleted")
		},
	}, {
		name: "EvalDelete/foreign",
		why:  "only the holder may release a lock",
		run: func(t *trial) {
			key, token := t.Name(), t.Name()
			t.SetNX(key, token, long, true, "a free key")
			t.EvalDelete(key, t.Name(), false, "a key that another token holds")
			t.EvalDelete(key, "", false, "a key that another token holds, with the empty token")
			t.SetNX(key, t.Name(), long, false, "a key that another tried to delete")
			t.EvalDelete(key, token, true, "a key, by its holder, after another tried")
		},
	}, {
		name: "EvalDelete/missing",
		why:  "a missing key is an answer on which the core relies, not an error",
		run: func(t *trial) {
			key := t.Name()
			t.EvalDelete(key, t.Name(), false, "a key that does not exist")
			t.EvalDelete(key, "", false, "a key that does not exist, with the empty token")
			t.SetNX(key, t.Name(), long, true, "a key that was deleted in vain")
		},
	}, {
		name: "EvalDelete/too late",
		why:  "a holder that returns after its lock has expired must not release the next holder's lock",
		run: func(t *trial) {
			key, token, next := t.Name(), t.Name(), t.Name()
			began := t.Clock()
			t.SetNX(key, token, short, true, "a free key")
			t.AwaitFree(key, next, began, short, "a key with a ttl")
			t.EvalDelete(key, token, false, "a key that the next one holds")
			t.EvalDelete(key, next, true, "a key, by the next one")
		},
	}}
}
