package lua

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
)

func TestHashes(t *testing.T) {
	for _, s := range All {
		sum := sha1.Sum([]byte(s.Source()))
		if want := hex.EncodeToString(sum[:]); s.Hash() != want {
			t.Errorf("%s: the hash constant is %s, the text hashes to %s", s.Name(), s.Hash(), want)
		}
	}
}

// The longest grace is also in a script.
func TestMaxGrace(t *testing.T) {
	if want := fmt.Sprintf("math.min(tonumber(grace or 0) %% 90000, %d)", MaxGrace.Milliseconds()); strings.Count(link("inbox"), want) != 1 {
		t.Errorf("inbox.lua does not contain %q", want)
	}
}

// Every file is a script or is included by one, and every include line is replaced.
func TestEveryFileIsUsed(t *testing.T) {
	scripts := make(map[string]bool)
	for _, s := range All {
		scripts[s.Name()] = true
		if strings.Contains(s.Source(), "--@") {
			t.Errorf("script %s has a line that was not replaced", s.Name())
		}
	}
	names, err := fs.Glob(files, "*.lua")
	if err != nil || len(names) < len(All) {
		t.Fatalf("%d files for %d scripts, %v", len(names), len(All), err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(name, ".lua")
		if scripts[name] {
			continue
		}
		if !slices.ContainsFunc(All, func(s *backend.Script) bool { return strings.Contains(s.Source(), link(name)) || contains(s, name) }) {
			t.Errorf("%s.lua is not a script and is not included by one", name)
		}
	}
}

// contains reports whether s contains the text of a file without its includes.
func contains(s *backend.Script, name string) bool {
	text, err := files.ReadFile(name + ".lua")
	if err != nil {
		panic(err)
	}
	_, own, ok := strings.Cut(string(text), "\n\n")
	return ok && strings.Contains(s.Source(), own)
}

// A script defines each function before it calls it, and no function that it does not call.
func TestFunctions(t *testing.T) {
	definition := regexp.MustCompile(`(?m)^local function (\w+)\(`)
	known := make(map[string]bool)
	for _, s := range All {
		for _, d := range definition.FindAllStringSubmatch(s.Source(), -1) {
			known[d[1]] = true
		}
	}
	if len(known) < 12 {
		t.Fatalf("the functions are %v", known)
	}
	comment := regexp.MustCompile(`(?m)--.*$`)
	for _, s := range All {
		text := comment.ReplaceAllString(s.Source(), "")
		for name := range known {
			calls := regexp.MustCompile(`(^|[^.\w])`+name+`\(`).FindAllStringIndex(text, -1)
			at := strings.Index(text, "local function "+name+"(")
			switch {
			case at < 0 && len(calls) > 0:
				t.Errorf("script %s calls %s, which it does not define", s.Name(), name)
			case at >= 0 && calls[0][0] < at:
				t.Errorf("script %s calls %s before it defines it", s.Name(), name)
			case at >= 0 && len(calls) == 1:
				t.Errorf("script %s defines %s and does not call it", s.Name(), name)
			}
		}
	}
}
