package adapterkit_test

import (
	"errors"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

func TestLoadedRejects(t *testing.T) {
	script := backend.NewScript("s", "return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
	for text, want := range map[string]bool{
		"ERR unknown command 'EVALSHA', with args beginning with: 'x' ":             true,
		"ERR unknown command `evalsha`, with args beginning with: ":                 true,
		"NOPERM this user has no permissions to run the 'evalsha' command":          true,
		"NOPERM User u has no permissions to run the 'evalsha' command":             true,
		"ERR unknown command 'EVAL', with args beginning with: 'evalsha' ":          false,
		"NOPERM this user has no permissions to run the 'get' command":              false,
		"NOSCRIPT No matching script. Please use EVAL.":                             false,
		"ERR ACL failure in script: User u has no permissions to run 'get' command": false,
	} {
		var l adapterkit.Loaded
		l.Add(script)
		if got := l.Rejects(backend.MarkReply(errors.New(text))); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if l.TextOnly() != want || l.Has(script) == want {
			t.Errorf("%q: TextOnly %v, Has %v", text, l.TextOnly(), l.Has(script))
		}
	}
	var l adapterkit.Loaded
	if l.Rejects(nil) || l.Rejects(errors.New("ERR unknown command 'EVALSHA'")) {
		t.Error("an error that is not marked as refused rejects hashes")
	}
}
