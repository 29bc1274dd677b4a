package backendtest

func otherTypeChecks() []rule {
	const why = "a key that does not hold a token, whatever its type, belongs to another program; this is an answer, not an error, and the key must stay unchanged"
	// other stores a value of another type.
	other := func(t *trial) string {
		key := t.Name()
		t.SetOther(key)
		return key
	}
	return []rule{{
		name: "other type/SetNX",
		why:  why,
		run: func(t *trial) {
			t.SetNX(other(t), t.Name(), long, false, "a key that holds no string")
		},
	}, {
		name: "other type/EvalDelete",
		why:  why,
		run: func(t *trial) {
			key := other(t)
			t.EvalDelete(key, t.Name(), false, "a key that holds no string")
			t.EvalDelete(key, "", false, "a key that holds no string, with the empty token")
			t.SetNX(key, t.Name(), long, false, "a key that holds no string, after a delete in vain")
		},
	}, {
		name: "other type/Extend",
		why:  why,
		run: func(t *trial) {
			key := other(t)
			t.Extend(key, t.Name(), short, false, "a key that holds no string")
			t.Extend(key, "", short, false, "a key that holds no string, with the empty token")
			t.Wait(2 * short)
			t.SetNX(key, t.Name(), long, false, "a key that holds no string, after an extension in vain")
		},
	}}
}
