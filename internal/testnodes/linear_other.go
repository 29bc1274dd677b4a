//go:build !linux

package testnodes

import "time"

var begin = time.Now()

func threadTime() time.Duration { return time.Since(begin) }
