package backendtest

func otherTypeChecks() []check {
	const why = "a key that holds anything but a token, of any type, is somebody else's: an answer, not an error, and to be left alone"
	// other makes such a key.
	other := func(t *trial) string {
		key := t.name()
		t.other(key)
		return key
	}
	return []check{{
		name: "other type/SetNX",
		why:  why,
		run: func(t *trial) {
			t.setNX(other(t), t.name(), long, false, "a key that holds no string")
		},
	}, {
		name: "other type/EvalDelete",
		why:  why,
		run: func(t *trial) {
			key := other(t)
			t.evalDelete(key, t.name(), false, "a key that holds no string")
			t.evalDelete(key, "", false, "a key that holds no string, with the empty token")
			t.setNX(key, t.name(), long, false, "a key that holds no string, after a delete in vain")
		},
	}, {
		name: "other type/Extend",
		why:  why,
		run: func(t *trial) {
			key := other(t)
			t.extend(key, t.name(), short, false, "a key that holds no string")
			t.extend(key, "", short, false, "a key that holds no string, with the empty token")
			t.wait(2 * short)
			t.setNX(key, t.name(), long, false, "a key that holds no string, after an extension in vain")
		},
	}}
}
