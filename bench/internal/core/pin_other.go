//go:build !linux

package core

import (
	"errors"
	"fmt"
	"runtime"
)

// Pin is not possible on this system. The error matches [errors.ErrUnsupported].
func Pin(int, []int) (undo func() error, err error) {
	return nil, fmt.Errorf("processes cannot be bound to cores on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
