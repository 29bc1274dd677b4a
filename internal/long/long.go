// Package long leaves out tests that take long, unless somebody asks for them.
//
// "go test work" without anything else is for people who want to see soon whether the code works
// on their machine. They get the tests that take two to three minutes in total on two cores, with compiling. All others run
//
//   - if QUORUMLOCK_TESTS is "all", as in .ci/run and in the workflows;
//   - if a flag of the command names what to run: -run, -bench, -fuzz or -list.
//
// A package whose tests are left out says so: its line ends with "[no tests to run]", and with -v
// its output says how to run them. A single test that is left out is skipped, and says the same.
package long

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// variable is the environment variable that asks for all tests.
const variable = "QUORUMLOCK_TESTS"

// Hint says how to run what was left out.
const Hint = "set " + variable + "=all, or name tests with -run"

// Wanted reports whether tests that take long should run.
func Wanted() bool {
	switch v := os.Getenv(variable); v {
	case "all":
		return true
	case "":
	default:
		panic(fmt.Sprintf("%s=%s: the only value is all", variable, v))
	}
	for _, name := range []string{"test.run", "test.bench", "test.fuzz", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return true
		}
	}
	return false
}

// Package leaves out all tests of a package, unless they are wanted. TestMain calls it before
// anything else that takes time. If it leaves them out, it ends the process.
func Package(m *testing.M) {
	if !flag.Parsed() {
		flag.Parse()
	}
	if Wanted() {
		return
	}
	fmt.Println("left out: the tests of this package take long. To run them,", Hint)
	if err := flag.Set("test.run", "^$"); err != nil {
		panic(err) // the flag does not exist
	}
	os.Exit(m.Run()) // which warns that there are no tests to run, for the line of the package
}

// Test leaves out one test, unless those that take long are wanted.
func Test(t testing.TB) {
	t.Helper()
	if !Wanted() {
		t.Skip("left out: this test takes long. To run it, " + Hint)
	}
}
