package joint

import "sync"

// Each calls f for the numbers from 0 to n-1, all at the same time, and waits for all of them. If
// f panics, for example in a hook of the user, Each panics with the same value: on a goroutine of
// its own it would end the program.
func Each(n int, f func(i int)) {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		first any // that f has panicked with
	)
	for i := range n {
		all.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					mu.Lock()
					defer mu.Unlock()
					if first == nil {
						first = v
					}
				}
			}()
			f(i)
		})
	}
	all.Wait()
	if first != nil {
		panic(first)
	}
}
