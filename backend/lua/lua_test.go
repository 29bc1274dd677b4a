package lua

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHashes(t *testing.T) {
	for _, s := range All {
		sum := sha1.Sum([]byte(s.Source()))
		if want := hex.EncodeToString(sum[:]); s.Hash() != want {
			t.Errorf("%s: the hash constant is %s, the text hashes to %s", s.Name(), s.Hash(), want)
		}
	}
}

// The longest grace is written in a script too.
func TestMaxGrace(t *testing.T) {
	if want := fmt.Sprintf("math.min(tonumber(grace), %d)", MaxGrace.Milliseconds()); strings.Count(inbox, want) != 1 {
		t.Errorf("inbox.lua does not say %q", want)
	}
}

// Every file is a script or goes before one, and nothing else is in a script.
func TestAllIsEveryFile(t *testing.T) {
	files, err := filepath.Glob("*.lua")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{} // of the files that are no script
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimSuffix(f, ".lua")] = string(text)
	}
	before := map[string]string{}
	for _, s := range All {
		rest, ends := strings.CutSuffix(s.Source(), texts[s.Name()])
		if !ends || texts[s.Name()] == "" {
			t.Errorf("script %s does not end with the text of %s.lua", s.Name(), s.Name())
		}
		before[s.Name()] = rest
		delete(texts, s.Name())
	}
	used := map[string]bool{}
	for name, rest := range before {
		for _, part := range []string{"quickrelease", "quickvote", "inbox", "whole", "enqueue", "refuse", "call", "bury", "lengthen", "clock", "number", "fence", "marker", "quarantine"} {
			if after, ok := strings.CutPrefix(rest, texts[part]); ok {
				rest, used[part] = after, true
			}
		}
		if rest != "" {
			t.Errorf("script %s has what is in no file before it: %q", name, rest)
		}
	}
	for name := range texts {
		if !used[name] {
			t.Errorf("%s.lua is no script and goes before none", name)
		}
	}
}
