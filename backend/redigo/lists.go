package redigo

import "sync"

// lists is a pool of argument lists. A list belongs to the call that took it, from take
// to back. That call must not pass it to a goroutine that may outlast it: see [Node.do].
type lists struct{ pool sync.Pool }

// take returns an empty list.
func (l *lists) take() *[]any {
	if list, ok := l.pool.Get().(*[]any); ok {
		return list
	}
	list := make([]any, 0, 8)
	return &list
}

// back returns a list that nobody uses any more.
func (l *lists) back(list *[]any) {
	clear(*list)
	*list = (*list)[:0]
	l.pool.Put(list)
}
