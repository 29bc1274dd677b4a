package main

import (
	"runtime"
	"strconv"
	"strings"
)

// Variables that describe the lock of one run to its command. The command of a run
// inside another one must not see those of the outer lock, so [commandEnvironment]
// removes all of them from what the tool has inherited.
const (
	nameVariable  = "REDLOCK_NAME"
	fenceVariable = "REDLOCK_FENCE"
)

var commandVariables = []string{nameVariable, fenceVariable}

const commandEnvironmentHelp = `
  The command inherits the environment. These two always describe its own lock:
  ` + nameVariable + `    NAME
  ` + fenceVariable + `   the fencing token with --fencing, and not set without`

// commandEnvironment returns the environment of the command that runs under the lock
// called name: the inherited one, and the variables that describe the lock. A fence of 0
// is no fencing token.
func commandEnvironment(inherited []string, name string, fence uint64) []string {
	env := make([]string, 0, len(inherited)+len(commandVariables))
	for _, entry := range inherited {
		if !describesLock(entry) {
			env = append(env, entry)
		}
	}
	env = append(env, nameVariable+"="+name)
	if fence != 0 {
		env = append(env, fenceVariable+"="+strconv.FormatUint(fence, 10))
	}
	return env
}

// describesLock reports whether entry, of the form NAME=VALUE, is one of commandVariables.
func describesLock(entry string) bool {
	name, _, _ := strings.Cut(entry, "=")
	for _, v := range commandVariables {
		if name == v || runtime.GOOS == "windows" && strings.EqualFold(name, v) {
			return true
		}
	}
	return false
}
