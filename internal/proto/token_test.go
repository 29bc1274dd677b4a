package proto

import "testing"

// The end of the lock's value shows a waiter whether its holder notifies waiters.
func TestForeign(t *testing.T) {
	end := func(value string) string { return value[max(0, len(value)-32):] }
	for range 100 {
		for _, ours := range []string{
			NewToken(""), NewToken("label"), NewToken("a label that is longer than what is shown"), NewToken("ключ"),
			Reservation("20:" + Inbox("", NewToken(""))), Reservation("1000:" + Inbox("prefix:", NewToken("label"))),
		} {
			if Foreign(end(ours)) {
				t.Fatalf("%q is read as a token of another library", ours)
			}
		}
	}
	for library, token := range map[string]string{
		"an empty one": "", "another type of key": "",
		"redsync":       "mPNsR8cFYYn5Jq8jYxZ8/g==",
		"redis-py":      "6f1ed002ab5595859014ebf0951522d9",
		"redlock-py":    "Zx82nQdLpTq0aMb6YvCk1w",
		"node-redlock":  "2f5ff0b51ee1b9d9b6b14a8ad0c0ac1c",
		"Redisson":      "9c1d8a5e-0e2c-4f2b-8b34-9d7b4a1a0d1c:1",
		"redis-cli":     "1",
		"a long number": "12345678901234567890123456",
		"27 letters":    NewToken("") + "A",
		"lower case":    "label:abcdefghijklmnopqrstuvwxyz",
	} {
		if !Foreign(end(token)) {
			t.Errorf("%s: %q is read as a token of this library", library, token)
		}
	}
}

// The owner's label is read only from tokens of this library.
func TestOwnerOf(t *testing.T) {
	random := NewToken("")
	for token, want := range map[string]string{
		NewToken("me"):            "me",
		NewToken("a:b"):           "a:b",
		NewToken("größe "):        "größe ",
		random:                    "",
		":" + random:              "",
		"me:" + random[1:]:        "",
		"me:" + random[1:] + "é":  "",
		"me:" + random[1:] + "0":  "",
		"me_" + random:            "",
		"":                        "",
		"me:":                     "",
		"f47ac10b58cc4372a5670e0": "",
	} {
		if got := OwnerOf(token); got != want {
			t.Errorf("the owner of %q is %q, want %q", token, got, want)
		}
	}
}

func TestSharedIsNotForeign(t *testing.T) {
	if Foreign("~shared") {
		t.Error("readers are taken for another library")
	}
}
