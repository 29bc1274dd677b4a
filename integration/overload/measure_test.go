//go:build unix

package overload

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"syscall"
	"time"
)

// usage is what a process used over a time.
type usage struct {
	Wall, CPU  time.Duration
	Memory     int64 // growth, at the peak
	Heap       int64 // in use at the end, after a collection
	Goroutines int   // at the peak
}

// cores returns the number of cores that it kept busy.
func (u usage) cores() float64 { return u.CPU.Seconds() / u.Wall.Seconds() }

// meter measures the usage of this process.
type meter struct {
	at     time.Time
	cpu    time.Duration
	memory int64

	over chan struct{}
	wg   sync.WaitGroup
	used usage
}

func startMeter() *meter {
	debug.FreeOSMemory() // what was in use before would hide growth
	m := &meter{over: make(chan struct{}), memory: memoryNow()}
	m.wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			m.used.Memory = max(m.used.Memory, memoryNow()-m.memory)
			m.used.Goroutines = max(m.used.Goroutines, runtime.NumGoroutine())
			select {
			case <-tick.C:
			case <-m.over:
				return
			}
		}
	})
	m.at, m.cpu = time.Now(), cpuTime()
	return m
}

// stop ends the measurement.
func (m *meter) stop() usage {
	m.used.Wall, m.used.CPU = time.Since(m.at), cpuTime()-m.cpu
	close(m.over)
	m.wg.Wait()
	m.used.Heap = heapInUse()
	return m.used
}

// cpuTime returns the CPU time that this process has used, in user and kernel.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memoryNow returns how much memory the Go runtime has from the system.
func memoryNow() int64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64()) - int64(samples[1].Value.Uint64())
}

// heapInUse returns the size of the heap after a collection.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // frees what the first one removed from pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// tally counts calls of one phase of a scenario.
type tally struct {
	Calls, Failed int
	Errors        map[string]int // by kind of error
	Median, P99   time.Duration  // of successful calls, like the next two
	Mean, Longest time.Duration
	Wall          time.Duration

	mu    sync.Mutex
	since time.Time
	took  []time.Duration
}

func newTally() *tally { return &tally{Errors: map[string]int{}, since: time.Now()} }

// add counts a call.
func (y *tally) add(took time.Duration, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.Calls++
	if err != nil {
		y.Failed++
		y.Errors[kindOf(err)]++
		return
	}
	y.took = append(y.took, took)
}

// close ends the phase and returns its figures.
func (y *tally) close() *tally {
	y.mu.Lock()
	defer y.mu.Unlock()
	result := &tally{Calls: y.Calls, Failed: y.Failed, Errors: map[string]int{}, Wall: time.Since(y.since)}
	for kind, n := range y.Errors {
		result.Errors[kind] = n
	}
	if len(y.took) > 0 {
		slices.Sort(y.took)
		var sum time.Duration
		for _, took := range y.took {
			sum += took
		}
		result.Mean = sum / time.Duration(len(y.took))
		result.Median = y.took[len(y.took)/2]
		result.P99 = y.took[len(y.took)*99/100]
		result.Longest = y.took[len(y.took)-1]
	}
	return result
}

// perSecond returns how many calls succeeded per second.
func (y *tally) perSecond() float64 { return float64(y.Calls-y.Failed) / y.Wall.Seconds() }

// succeeded returns the share of calls that succeeded.
func (y *tally) succeeded() float64 {
	if y.Calls == 0 {
		return 0
	}
	return float64(y.Calls-y.Failed) / float64(y.Calls)
}
