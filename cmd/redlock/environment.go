package main

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Variables that the tool sets for its command. If a run is inside another one, its
// command must not see the outer run's values, so [commandEnvironment] removes all
// inherited ones.
const (
	nameVariable     = "REDLOCK_NAME"
	fenceVariable    = "REDLOCK_FENCE"
	heldVariable     = "REDLOCK_HELD"
	withheldVariable = "REDLOCK_NODES_WITHHELD"
)

var commandVariables = []string{nameVariable, fenceVariable, heldVariable, withheldVariable}

const commandEnvironmentHelp = `
  The command inherits the environment, but for REDLOCK_NODES if that may contain a
  password (--pass-nodes). These always describe its own lock:
  ` + nameVariable + `    NAME
  ` + fenceVariable + `   the fencing token with --fencing, and not set without
  ` + heldVariable + `    for a redlock run inside the command: which locks are held around it
  ` + withheldVariable + `
                  1 if REDLOCK_NODES is not passed on`

// A surrounding is what the environment tells the command of a run.
type surrounding struct {
	name      string
	fence     uint64 // 0: no fencing token
	held      held
	passNodes bool // even if the list may contain a password
}

// commandEnvironment returns the environment of the command: the inherited one, plus the
// variables that describe the lock.
func commandEnvironment(inherited []string, s surrounding) []string {
	env := make([]string, 0, len(inherited)+len(commandVariables))
	nodes, withheld := false, false
	for _, entry := range inherited {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case isVariable(name, string(nodesVariable)) && value != "":
			if !s.passNodes && holdPassword(value) {
				withheld = true
				continue
			}
			nodes = true
		case isVariable(name, withheldVariable):
			withheld = true
		}
		if !slices.ContainsFunc(commandVariables, func(v string) bool { return isVariable(name, v) }) {
			env = append(env, entry)
		}
	}
	env = append(env, nameVariable+"="+s.name)
	if s.fence != 0 {
		env = append(env, fenceVariable+"="+strconv.FormatUint(s.fence, 10))
	}
	if len(s.held) > 0 {
		env = append(env, heldVariable+"="+s.held.String())
	}
	if withheld && !nodes {
		env = append(env, withheldVariable+"=1")
	}
	return env
}

// isVariable reports whether name is the environment variable v.
func isVariable(name, v string) bool {
	return name == v || runtime.GOOS == "windows" && strings.EqualFold(name, v)
}

// holdPassword reports whether the value of REDLOCK_NODES may contain a password.
func holdPassword(nodes string) bool {
	return strings.Contains(nodes, "@") || strings.Contains(strings.ToLower(nodes), "passw")
}
