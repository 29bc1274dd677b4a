// Package check runs checks of a [backend.Node]. It gives each check a node, names that
// nobody else uses, and a deadline. It reports why a check failed or was skipped, and
// cleans up after it. It knows no rules itself: package backend/backendtest has the rules
// for adapters, and package internal/scripttest those for the scripts.
//
// A check does not run if it needs a capability that the node lacks or a hook that the
// test has not set. For each of these, one line says how many checks did not run.
package check
