// Command links fails if a Markdown file of the repository has a link to a file, a folder or a
// heading that does not exist. It checks relative links and images, and no addresses.
//
//	go run ./scripts/links [FOLDER]
package main

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	pages, dead, err := check(root)
	for _, d := range dead {
		fmt.Println(d)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "links:", err)
		os.Exit(1)
	case pages == 0:
		fmt.Fprintln(os.Stderr, "links: no Markdown files in", root)
		os.Exit(1)
	case len(dead) > 0:
		os.Exit(1)
	}
}

// check returns the dead links of all Markdown files below root, and how many files there are.
func check(root string) (pages int, dead []string, err error) {
	anchors := map[string]map[string]bool{}
	targets := map[string][]target{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") && d.Name() != ".github":
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pages++
		anchors[path], targets[path] = read(string(text))
		return nil
	})
	if err != nil {
		return pages, nil, err
	}
	for page, list := range targets {
		for _, t := range list {
			if why := t.dead(page, anchors); why != "" {
				dead = append(dead, fmt.Sprintf("%s:%d: (%s): %s", page, t.line, t.link, why))
			}
		}
	}
	return pages, dead, nil
}

// A target is where a link leads.
type target struct {
	line int
	link string
}

// dead says why a link of page is dead, or returns "".
func (t target) dead(page string, anchors map[string]map[string]bool) string {
	path, anchor, hasAnchor := strings.Cut(t.link, "#")
	path, err := url.PathUnescape(path)
	if err != nil {
		return err.Error()
	}
	file := page
	if path != "" {
		file = filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
	}
	if _, err := os.Stat(file); err != nil {
		return "there is no such file"
	}
	if known, isPage := anchors[file]; hasAnchor && isPage && !known[anchor] {
		return "there is no such heading"
	}
	return ""
}

var (
	fence     = regexp.MustCompile("^ {0,3}(```|~~~)")
	heading   = regexp.MustCompile(`^ {0,3}#{1,6} +(.*?)(?: +#+)? *$`)
	code      = regexp.MustCompile("`+[^`]*`+")
	inline    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	reference = regexp.MustCompile(`^ {0,3}\[[^\]]+\]:\s*(\S+)`)
	id        = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	absolute  = regexp.MustCompile(`^([a-z][a-z0-9+.-]*:|//)`)
)

// read returns the anchors of a page and its relative links, except those in code.
func read(text string) (anchors map[string]bool, targets []target) {
	anchors = map[string]bool{}
	inFence := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if fence.MatchString(line) {
			inFence = !inFence
			continue
		}
		if inFence {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			name := slug(m[1])
			for i := 1; anchors[name]; i++ {
				name = fmt.Sprintf("%s-%d", slug(m[1]), i)
			}
			anchors[name] = true
		}
		for _, m := range id.FindAllStringSubmatch(line, -1) {
			anchors[m[1]] = true
		}
		bare := code.ReplaceAllString(line, "`")
		found := inline.FindAllStringSubmatch(bare, -1)
		if m := reference.FindStringSubmatch(bare); m != nil {
			found = append(found, m)
		}
		for _, m := range found {
			if !absolute.MatchString(m[1]) {
				targets = append(targets, target{n, m[1]})
			}
		}
	}
	return anchors, targets
}

// slug returns the anchor that GitHub gives to a heading.
func slug(heading string) string {
	heading = linkText.ReplaceAllString(heading, "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}
