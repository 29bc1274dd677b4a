package lua

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.lua
var files embed.FS

// link returns the text of a script. A line such as
//
//	--@include clock, number
//
// stands for the text of these files, and of those that they include. Each file is taken
// once, where it is included first.
func link(name string) string {
	var text strings.Builder
	add(&text, name, make(map[string]bool))
	return text.String()
}

// add adds the text of a file to a script that has the files in seen already.
func add(text *strings.Builder, name string, seen map[string]bool) {
	if seen[name] {
		return
	}
	seen[name] = true
	file, err := files.ReadFile(name + ".lua")
	if err != nil {
		panic(fmt.Sprintf("lua: %v", err)) // the file is part of this package
	}
	for line := range strings.Lines(string(file)) {
		names, ok := strings.CutPrefix(line, "--@include ")
		if !ok {
			text.WriteString(line)
			continue
		}
		for _, n := range strings.Split(strings.TrimSpace(names), ", ") {
			add(text, n, seen)
		}
	}
}
