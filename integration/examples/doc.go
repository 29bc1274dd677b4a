// Package examples holds tests that run each example of the tool's documentation as it is
// printed, on real servers. It has no code of its own.
//
// The examples are the lines under "Examples:" in each --help, and the commands in the
// blocks of docs/operations.md that begin with ```console. There the output is compared
// with the page too, but for what changes with each run: times, process ids,
// fingerprints. Blocks in other languages, such as ```sh, are not run.
//
// A comment of the form <!-- before: COMMAND --> in the page arranges what the next
// commands are to find. testdata/stage.sh has the words for that.
// A section of the page and a paragraph of a help text begin with empty servers and a new
// shell.
package examples
