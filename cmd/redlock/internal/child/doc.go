// Package child runs a command so that all of it can be signalled: on Unix in a
// process group of its own. It hands the terminal to the command when the
// command wants it, as a shell does, so that one that asks questions works.
package child
