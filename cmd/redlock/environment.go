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
	permitVariable   = "REDLOCK_PERMIT"
	heldVariable     = "REDLOCK_HELD"
	withheldVariable = "REDLOCK_NODES_WITHHELD"
)

var commandVariables = []string{nameVariable, fenceVariable, permitVariable, heldVariable, withheldVariable}

// commandEnvironmentHelp says what the command finds in its environment. own is what is
// different for each command of the tool.
func commandEnvironmentHelp(own string) string {
	return `
  The command inherits the environment. If REDLOCK_NODES may contain a password, or
  REDLOCK_PASSWORD or REDLOCK_SENTINEL_PASSWORD is set, the command gets none of these
  three and not REDLOCK_NODES_FILE, unless --pass-nodes is given.
  These variables are always about its own lock:
  ` + nameVariable + `    NAME` + own + `
  ` + heldVariable + `    which locks are held, for a redlock run inside the command
  ` + withheldVariable + `
                  1 if REDLOCK_NODES is not passed on`
}

// runEnvironmentHelp is that part of redlock run.
const runEnvironmentHelp = `
  ` + fenceVariable + `   the fencing token, only with --fencing
  ` + permitVariable + `  the number of the permit, from 1 to N, only with --permits N`

// A surrounding is what the environment tells the command of a run.
type surrounding struct {
	name      string
	fence     uint64 // 0: no fencing token
	permit    int    // 0: a lock
	held      held
	passNodes bool // even if the list may contain a password
}

// What a run does not pass on if one of the secrets is set, or the list of servers may
// contain a password. They belong together: servers without their password would not help
// a run inside the command.
var (
	secretVariables = []string{passwordVariable, sentinelPasswordVariable}
	nodeVariables   = append([]string{nodesVariable, nodesFileVariable}, secretVariables...)
)

// commandEnvironment returns the environment of the command: the inherited one, plus the
// variables that describe the lock.
func commandEnvironment(inherited []string, s surrounding) []string {
	env := make([]string, 0, len(inherited)+len(commandVariables))
	withhold, withheld, nodes := !s.passNodes && slices.ContainsFunc(inherited, holdSecret), false, false
	for _, entry := range inherited {
		name, value, _ := strings.Cut(entry, "=")
		among := func(list []string) bool {
			return slices.ContainsFunc(list, func(v string) bool { return isVariable(name, v) })
		}
		switch {
		case withhold && value != "" && among(nodeVariables):
			withheld = true
			continue
		case value != "" && among([]string{nodesVariable, nodesFileVariable}):
			nodes = true
		case isVariable(name, withheldVariable):
			withheld = true
		}
		if !among(commandVariables) {
			env = append(env, entry)
		}
	}
	env = append(env, nameVariable+"="+s.name)
	if s.fence != 0 {
		env = append(env, fenceVariable+"="+strconv.FormatUint(s.fence, 10))
	}
	if s.permit > 0 {
		env = append(env, permitVariable+"="+strconv.Itoa(s.permit))
	}
	if len(s.held) > 0 {
		env = append(env, heldVariable+"="+s.held.String())
	}
	if withheld && !nodes {
		env = append(env, withheldVariable+"=1")
	}
	return env
}

// holdSecret reports whether an entry of the environment may contain a password for the
// servers.
func holdSecret(entry string) bool {
	name, value, _ := strings.Cut(entry, "=")
	return isVariable(name, nodesVariable) && holdPassword(value) ||
		value != "" && slices.ContainsFunc(secretVariables, func(v string) bool { return isVariable(name, v) })
}

// isVariable reports whether name is the environment variable v.
func isVariable(name, v string) bool {
	return name == v || runtime.GOOS == "windows" && strings.EqualFold(name, v)
}

// holdPassword reports whether the value of REDLOCK_NODES may contain a password. The name
// of a file with a password is none.
func holdPassword(nodes string) bool {
	nodes = strings.ReplaceAll(strings.ToLower(nodes), "password_file=", "")
	return strings.Contains(nodes, "@") || strings.Contains(nodes, "passw")
}
