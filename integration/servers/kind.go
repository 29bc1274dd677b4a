package servers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A Kind is a server program and its version, for example "redis:7.0".
type Kind string

// The kinds of the containers. Another rung has the kinds that it finds, with names in the same
// form.
const (
	Redis60  Kind = "redis:6.0"
	Redis70  Kind = "redis:7.0"
	Redis80  Kind = "redis:8.0"
	Valkey81 Kind = "valkey:8.1"

	// Embedded is the kind of the embedded rung.
	Embedded Kind = "miniredis"

	// Any stands for the first kind that the rung has.
	Any Kind = ""
)

// program returns the prefix of the names of the kind's programs.
func (k Kind) program() string {
	name, _, _ := strings.Cut(string(k), ":")
	return name
}

// Before reports whether the server lacks what came with that version of Redis, because its own
// version is an earlier one. The first Valkey was 7.2. An embedded server has no version, and is
// before none.
func (k Kind) Before(major, minor int) bool {
	_, version, _ := strings.Cut(string(k), ":")
	var have [2]int
	if n, _ := fmt.Sscanf(version, "%d.%d", &have[0], &have[1]); n != 2 {
		return false
	}
	return slices.Compare(have[:], []int{major, minor}) < 0
}

// rules returns those of a user's rules that the server knows. Before Redis 6.2 there are none
// about channels.
func (k Kind) rules(rules []string) []string {
	if !k.Before(6, 2) {
		return rules
	}
	return slices.DeleteFunc(slices.Clone(rules), func(rule string) bool {
		return strings.HasPrefix(rule, "&") || rule == "allchannels" || rule == "resetchannels"
	})
}

var versions = regexp.MustCompile(`(?im)(redis|valkey|keydb|^)(?: ?server v=|_version:)(\d+\.\d+)`)

// kindOf finds the kind in the output of --version or in INFO. Two programs are special. Valkey
// also shows which version of Redis it is compatible with, and 7.2 omits its name in --version.
// KeyDB shows its version as that of Redis, but also its executable.
func kindOf(text string) (Kind, bool) {
	var name, version string
	for _, m := range versions.FindAllStringSubmatch(text, -1) {
		switch own := strings.ToLower(m[1]); {
		case own == "":
			name, version = "valkey", m[2]
		case name == "" || own == "valkey":
			name, version = own, m[2]
		}
	}
	if name == "redis" && keydb.MatchString(text) {
		name = "keydb"
	}
	if name == "" {
		return "", false
	}
	return Kind(name + ":" + version), true
}

var keydb = regexp.MustCompile(`(?m)^executable:.*keydb-server`)

// Kinds returns the kinds of server that the rung has, at least one.
func Kinds(t testing.TB) []Kind {
	t.Helper()
	return use(t).rung.kinds()
}

// AreEmbedded reports whether the servers that this process starts are embedded. It
// starts none if neither [Main] nor [Run] was called.
func AreEmbedded() bool {
	h := current.Load()
	return h != nil && h.rung.kinds()[0] == Embedded
}

// Each runs f as a subtest for every kind of server that the rung has.
func Each(t *testing.T, f func(t *testing.T, kind Kind)) {
	t.Helper()
	for _, kind := range Kinds(t) {
		t.Run(string(kind), func(t *testing.T) { f(t, kind) })
	}
}
