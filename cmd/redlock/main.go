//go:build !manual

// The command redlock holds a lock on Redis or Valkey servers while another command runs,
// and shows and breaks locks. A demo shows what such a lock is good for.
//
//	redlock demo                                       no Redis needed
//	redlock run deploy -- ./deploy.sh production       see redlock run --help
//	redlock status deploy                              who holds it, and who waits?
//	redlock break deploy                               release it if its holder is gone
package main

import (
	"os"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
)

func main() {
	child.BecomeGuard()
	code, by := execute(os.Args[1:], os.Stdout, os.Stderr)
	child.Die(by)
	os.Exit(code)
}
