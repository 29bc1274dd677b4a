// Package demo shows a quorum lock at work: workers that fight over a counter,
// on three embedded servers of which one is killed and another one hangs.
package demo
