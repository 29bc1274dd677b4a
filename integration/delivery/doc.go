// Package delivery holds a test of what a release of the tool consists of, as scripts/dist
// builds it. It has no code of its own.
package delivery
