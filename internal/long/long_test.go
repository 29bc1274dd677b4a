package long

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// child makes this program the test of what takes long: a "package", or a "test".
const child = "QUORUMLOCK_LONG_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "package" {
		Package(m)
	}
	os.Exit(m.Run())
}

// TestVictim is the test that takes long.
func TestVictim(t *testing.T) {
	switch os.Getenv(child) {
	case "":
		return
	case "test":
		Test(t)
	}
	t.Log("the victim ran")
}

func TestTest(t *testing.T) {
	if os.Getenv(child) != "" {
		return
	}
	for name, tc := range map[string]struct {
		env, arg string
		runs     bool
	}{
		"nothing asks for it": {arg: "-test.v"},
		"the variable":        {env: "all", arg: "-test.v", runs: true},
		"-run":                {arg: "-test.run=Victim", runs: true},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", tc.arg)
			cmd.Env = append(os.Environ(), child+"=test", variable+"="+tc.env)
			out, err := cmd.CombinedOutput()
			said := string(out)
			if err != nil || strings.Contains(said, "the victim ran") != tc.runs || strings.Contains(said, "left out: ") == tc.runs || strings.Contains(said, Hint) == tc.runs {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}

func TestPackage(t *testing.T) {
	if os.Getenv(child) != "" {
		return
	}
	const ran, empty = "the victim ran", "testing: warning: no tests to run\n"
	for name, tc := range map[string]struct {
		env    string
		args   []string
		has    string
		hasNot string
		fails  bool
	}{
		"nothing asks for it": {has: empty, hasNot: ran},
		"and it says how":     {has: Hint, hasNot: ran},
		"the variable":        {env: "all", has: ran, hasNot: empty},
		"-run":                {args: []string{"-test.run=Victim"}, has: ran, hasNot: empty},
		"-run of another":     {args: []string{"-test.run=Nobody"}, has: empty, hasNot: "left out"},
		"-bench":              {args: []string{"-test.bench=Nothing"}, has: ran, hasNot: empty},
		"-list":               {args: []string{"-test.list=."}, has: "TestVictim", hasNot: "left out"},
		"another value":       {env: "some", has: "QUORUMLOCK_TESTS=some", hasNot: ran, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], append(tc.args, "-test.v")...)
			cmd.Env = append(os.Environ(), child+"=package", variable+"="+tc.env)
			out, err := cmd.CombinedOutput()
			if said := string(out); !strings.Contains(said, tc.has) || strings.Contains(said, tc.hasNot) || err != nil != tc.fails {
				t.Errorf("want %q and not %q, got %v and\n%s", tc.has, tc.hasNot, err, said)
			}
		})
	}
}
