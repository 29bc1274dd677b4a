package backendtest_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend/backendtest"
)

// notForAdapters are sentences of package backend in which "must" does not apply to adapters.
var notForAdapters = []string{
	`An adapter must keep every sentence of these contracts that says "must"; the core relies on each.`,
	"The hash is a constant beside the text, never computed: programs must be able to run where SHA-1 is disabled.",
	"Int returns element i, which must be an integer.",
	"Text returns element i, which must be a string.",
}

// docs/adapters.md lists every rule of the contracts, with existing checks.
func TestRules(t *testing.T) {
	rules := contractRules(t)
	listed := documentedRules(t)
	for _, rule := range rules {
		if _, ok := listed[rule]; !ok && !slices.Contains(notForAdapters, rule) {
			t.Errorf("docs/adapters.md lists no check for this rule of package backend:\n%s", rule)
		}
	}
	for rule, checks := range listed {
		if !slices.Contains(rules, rule) {
			t.Errorf("docs/adapters.md lists a rule that package backend does not have:\n%s", rule)
		}
		if strings.HasPrefix(checks, "none: ") {
			continue
		}
		names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(checks, -1)
		if len(names) == 0 {
			t.Errorf("docs/adapters.md names no check for this rule:\n%s", rule)
		}
		for _, name := range names {
			group, every := strings.CutSuffix(name[1], "*")
			if !slices.ContainsFunc(backendtest.CheckNames(), func(check string) bool {
				return check == name[1] || every && strings.HasPrefix(check, group)
			}) {
				t.Errorf("docs/adapters.md names the check %q, which does not exist", name[1])
			}
		}
	}
	for _, rule := range notForAdapters {
		if !slices.Contains(rules, rule) {
			t.Errorf("package backend no longer says: %s", rule)
		}
	}
}

// contractRules returns every sentence with "must" in package backend's comments.
func contractRules(t *testing.T) (rules []string) {
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	must := regexp.MustCompile(`\bmust\b`)
	sentence := regexp.MustCompile(`(?s).*?[.](?:\s|$)|.+$`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, comment := range file.Comments {
			for _, paragraph := range strings.Split(comment.Text(), "\n\n") {
				for _, s := range sentence.FindAllString(strings.Join(strings.Fields(paragraph), " "), -1) {
					if s = strings.TrimSpace(s); must.MatchString(s) && !strings.HasPrefix(s, "#") {
						rules = append(rules, s)
					}
				}
			}
		}
	}
	if len(rules) < 10 {
		t.Fatalf("package backend has %d rules: %q", len(rules), rules)
	}
	return rules
}

// documentedRules returns the rows of the list in docs/adapters.md.
func documentedRules(t *testing.T) map[string]string {
	page, err := os.ReadFile("../../docs/adapters.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(page), "| rule | checks |\n|---|---|\n")
	if !ok {
		t.Fatal("docs/adapters.md has no list of rules")
	}
	rows := map[string]string{}
	for line := range strings.Lines(list) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 2 {
			break
		}
		rows[strings.TrimSpace(cells[0])] = strings.TrimSpace(cells[1])
	}
	return rows
}
