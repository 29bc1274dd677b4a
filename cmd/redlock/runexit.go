package main

// Exit codes of run itself. They are the codes of the other commands plus 120, so that
// they are rarely those of the command.
const (
	runTaken   = 120 + exitFailed // somebody else has the lock; --taken-exit-code replaces it
	runUsage   = 120 + exitUsage
	runServers = 123 // too few servers work
	runLost    = 124 // the lock was lost while the command ran, or --max-hold was over

	// As in shells.
	runCannot   = 126 // the command exists and cannot be run
	runNotFound = 127
)

var runCodes = exitCodes{taken: runTaken, usage: runUsage, servers: runServers}

// ownMeaning returns what an exit code other than 0 says if it is run's own, or "" if run
// never ends with it by itself.
func (r *run) ownMeaning(code int) string {
	switch code {
	case r.codes.taken:
		return "a lock that is taken"
	case runUsage:
		return "wrong usage"
	case runServers:
		return "servers that do not work"
	case runLost:
		return "a lock that was lost"
	case runCannot:
		return "a command that cannot be run"
	case runNotFound:
		return "a command that does not exist"
	}
	return ""
}
