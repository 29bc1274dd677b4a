package lua

import (
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
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

func TestAllIsEveryFile(t *testing.T) {
	files, err := filepath.Glob("*.lua")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(All) {
		t.Errorf("All has %d scripts, the folder %d files: %v", len(All), len(files), files)
	}
	for _, s := range All {
		text, err := os.ReadFile(s.Name() + ".lua")
		if err != nil {
			t.Error(err)
		} else if string(text) != s.Source() {
			t.Errorf("%s.lua is not the text of script %s", s.Name(), s.Name())
		}
	}
}
