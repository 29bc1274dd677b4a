package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{
		"README.md": "# A `b` & [c](x)-d!\n\n## Twice\n## Twice\n<a id=\"mark\"></a>\n" +
			"[ok](docs/page.md#part-one) [ok](docs/) [ok](#a-b--c-d) [ok](#twice-1) [ok](#mark) ![ok](docs/a.svg \"title\") [ok](https://example.com/x#y)\n" +
			"[c](docs/a%2esvg) `[code](none)`\n```\n# not a heading\n[code](none)\n```\n[ok]: docs/page.md\n" +
			"[dead](none.md) [dead](docs/page.md#part-two)\n" +
			"[dead](#not-a-heading) and ![dead](none.svg)\n[dead]: none.txt\n[dead](#twice-2)\n",
		"docs/page.md":   "# Page\n## Part one\n[ok](../README.md#twice) [dead](README.md)\n",
		"docs/a.svg":     "",
		"x":              "",
		".hidden/bad.md": "[dead](none)",
	} {
		path := filepath.Join(root, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	pages, dead, err := check(root)
	if err != nil || pages != 2 {
		t.Fatalf("%d pages, %v", pages, err)
	}
	for i, d := range dead {
		dead[i] = strings.TrimPrefix(filepath.ToSlash(d), filepath.ToSlash(root)+"/")
	}
	slices.Sort(dead)
	want := []string{
		"README.md:13: (docs/page.md#part-two): there is no such heading",
		"README.md:13: (none.md): there is no such file",
		"README.md:14: (#not-a-heading): there is no such heading",
		"README.md:14: (none.svg): there is no such file",
		"README.md:15: (none.txt): there is no such file",
		"README.md:16: (#twice-2): there is no such heading",
		"docs/page.md:3: (README.md): there is no such file",
	}
	if !slices.Equal(dead, want) {
		t.Errorf("dead links:\n%s\nwant:\n%s", strings.Join(dead, "\n"), strings.Join(want, "\n"))
	}
}
