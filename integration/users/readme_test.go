package users

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

// What the README shows a new user works when it is pasted: the commands of "Install" make a module
// in an empty folder, and each program runs there. Only the address of the server differs.
func TestReadmeWorksWhenPasted(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	server := servers.Start(t, servers.Any, 1)[0]
	folder := install(t, section(t, page, "Install"))
	for _, program := range []struct{ section, says string }{
		{"A first program", "I have the lock"},
		{"With fencing tokens", "order 42 is paid"},
	} {
		t.Run(program.section, func(t *testing.T) {
			source := blocks(t, section(t, page, program.section), "go")[0]
			const address = "redis://localhost:6379"
			if n := strings.Count(source, address); n != 1 {
				t.Fatalf("the program has the address %s %d times, want once", address, n)
			}
			source = strings.Replace(source, address, server.URL(), 1)
			write(t, folder, "main.go", source)
			for _, require := range requirements(t, source) {
				goTool(t, folder, "mod", "edit", "-require="+strings.Replace(require, " ", "@", 1))
			}
			goTool(t, folder, "mod", "tidy")
			if said := goTool(t, folder, "run", "."); !strings.Contains(said, program.says) {
				t.Errorf("the program does not say %q:\n%s", program.says, said)
			}
		})
	}
	if keys := server.Keys(t); strings.Contains(strings.Join(keys, "\n"), "report") {
		t.Errorf("the first program leaves keys: %q", keys)
	}
}

// install runs the commands of the go tool in text in an empty folder, as a user does who has
// made the clone. It returns the folder.
func install(t *testing.T, text string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "first")
	if err := os.Mkdir(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(blocks(t, text, "sh")[0]) {
		switch words := strings.Fields(line); {
		case len(words) == 0:
		case strings.HasPrefix(line, "go install ./cmd/redlock "): // integration/delivery builds the tool
		case words[0] == "go":
			for i, w := range words {
				words[i] = strings.Replace(w, "../quorumlock", clone(t), 1)
			}
			goTool(t, folder, words[1:]...)
		case words[0] != "mkdir":
			t.Fatalf("this test does not know the command %q", line)
		}
	}
	return folder
}

// section returns the part of a page under a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "# "+heading+"\n")
	if !found {
		t.Fatalf("the page has no heading %q", heading)
	}
	if end := regexp.MustCompile("(?m)^##+ ").FindStringIndex(rest); end != nil {
		rest = rest[:end[0]]
	}
	return rest
}

// blocks returns the code in text that is marked with a language, at least one piece.
func blocks(t *testing.T, text, language string) []string {
	t.Helper()
	var all []string
	for _, b := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		all = append(all, b[1])
	}
	if all == nil {
		t.Fatalf("no code in %s in:\n%s", language, text)
	}
	return all
}
