package measure

import (
	"runtime"
	"time"
)

// A Meter measures what this process has used since the Meter was made.
type Meter struct {
	at     time.Time
	cpu    time.Duration
	memory runtime.MemStats
}

// Usage is what a process used.
type Usage struct {
	Wall, CPU     time.Duration // CPU of all threads, in user and kernel mode
	Allocs, Bytes uint64        // on the heap
}

// NewMeter starts to measure. It stops the world for a moment.
func NewMeter() *Meter {
	m := &Meter{}
	runtime.ReadMemStats(&m.memory)
	m.cpu = cpuTime()
	m.at = time.Now()
	return m
}

// Read returns what was used since then. It stops the world for a moment.
func (m *Meter) Read() Usage {
	wall, cpu := time.Since(m.at), cpuTime()-m.cpu
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return Usage{wall, cpu, now.Mallocs - m.memory.Mallocs, now.TotalAlloc - m.memory.TotalAlloc}
}
