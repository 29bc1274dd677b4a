// Package core chooses the cores that processes run on.
package core

// Self is the process that calls [Pin].
const Self = 0
