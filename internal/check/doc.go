// Package check runs checks of a [backend.Node]: it gives each one a node, names
// that nobody else uses and a deadline, reports why it failed or was skipped, and
// ends what it began. It knows no rule itself: package backend/backendtest has those
// for adapters, package internal/scripttest those of the scripts.
//
// A check that needs a capability which the node lacks, or a hook which the test has not
// set, is not made; one line for each of these says how many checks are missing.
package check
