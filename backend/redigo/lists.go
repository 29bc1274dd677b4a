package redigo

import "sync"

// lists are lists of arguments at rest. Redigo has written a command's arguments
// when it returns, so that the next command can have the list.
type lists struct{ pool sync.Pool }

// take returns an empty list.
func (l *lists) take() *[]any {
	if list, ok := l.pool.Get().(*[]any); ok {
		return list
	}
	list := make([]any, 0, 8)
	return &list
}

// back takes a list that nobody uses any more.
func (l *lists) back(list *[]any) {
	clear(*list)
	*list = (*list)[:0]
	l.pool.Put(list)
}
