package backendtest

func deleteChecks() []check {
	return []check{{
		name: "EvalDelete/own",
		why:  "a released lock must be free for the next, and a second release finds nothing",
		run: func(t *trial) {
			key, token := t.name(), t.name()
			t.setNX(key, token, long, true, "a free key")
			t.evalDelete(key, token, true, "a key, by its holder")
			t.evalDelete(key, token, false, "a key that was deleted")
			t.setNX(key, t.name(), long, true, "a key that was deleted")
		},
	}, {
		name: "EvalDelete/foreign",
		why:  "only the holder may release a lock",
		run: func(t *trial) {
			key, token := t.name(), t.name()
			t.setNX(key, token, long, true, "a free key")
			t.evalDelete(key, t.name(), false, "a key that another token holds")
			t.evalDelete(key, "", false, "a key that another token holds, with the empty token")
			t.setNX(key, t.name(), long, false, "a key that another tried to delete")
			t.evalDelete(key, token, true, "a key, by its holder, after another tried")
		},
	}, {
		name: "EvalDelete/missing",
		why:  "that there is nothing to release is an answer, on which the core builds, not an error",
		run: func(t *trial) {
			key := t.name()
			t.evalDelete(key, t.name(), false, "a key that does not exist")
			t.evalDelete(key, "", false, "a key that does not exist, with the empty token")
			t.setNX(key, t.name(), long, true, "a key that was deleted in vain")
		},
	}, {
		name: "EvalDelete/too late",
		why:  "who comes back after his lock has expired must not release the next one's",
		run: func(t *trial) {
			key, token, next := t.name(), t.name(), t.name()
			began := t.clock()
			t.setNX(key, token, short, true, "a free key")
			t.awaitFree(key, next, began, short, "a key with a ttl")
			t.evalDelete(key, token, false, "a key that the next one holds")
			t.evalDelete(key, next, true, "a key, by the next one")
		},
	}}
}
