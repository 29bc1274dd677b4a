package lease

import "errors"

// ErrShared says that a lease is shared, and that the caller wants more than to read.
var ErrShared = errors.New("the lock is shared")

// Shared reports whether others may hold the lock too, to read.
func (l *Lease) Shared() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shared
}

// Share makes the lease a shared one for this process, and reports whether it is. It does
// not while there are several handles, because their callers may be writing. It asks no
// node.
func (l *Lease) Share() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shared = l.shared || l.handles <= 1
	return l.shared
}
