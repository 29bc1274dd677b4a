// Package embedded runs Redis servers inside this process that can be killed,
// brought back and made to hang, for the demo and for tests.
package embedded
