package core

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"
)

// A mask has a bit for each core, as the kernel has it.
type mask [16]uint64

// Pin makes all threads of a process run only on the cores at these places in the list of the
// cores that the process may use. Later threads inherit this. undo takes it back. The error
// matches [errors.ErrUnsupported] if there are not so many cores.
func Pin(process int, places []int) (undo func() error, err error) {
	before, err := get(process)
	if err != nil {
		return nil, err
	}
	list := before.cores()
	var wanted mask
	for _, place := range places {
		if place >= len(list) {
			return nil, fmt.Errorf("the process may use %d cores, and this needs core %d: %w", len(list), place+1, errors.ErrUnsupported)
		}
		wanted[list[place]/64] |= 1 << (list[place] % 64)
	}
	if err := setAll(process, wanted); err != nil {
		return nil, errors.Join(err, setAll(process, before))
	}
	return func() error { return setAll(process, before) }, nil
}

// cores returns the numbers of the cores in m, in ascending order.
func (m *mask) cores() []int {
	var list []int
	for i, word := range m {
		for ; word != 0; word &= word - 1 {
			list = append(list, 64*i+bits.TrailingZeros64(word))
		}
	}
	return list
}

// setAll sets the cores of every thread. A thread that is made meanwhile may be missed once, so it
// goes through the list twice.
func setAll(process int, m mask) error {
	name := "self"
	if process != Self {
		name = strconv.Itoa(process)
	}
	for range 2 {
		threads, err := filepath.Glob(filepath.Join("/proc", name, "task", "*"))
		if err != nil || len(threads) == 0 {
			return errors.Join(fmt.Errorf("process %s has no threads in /proc", name), err)
		}
		for _, thread := range threads {
			number, err := strconv.Atoi(filepath.Base(thread))
			if err != nil {
				return err
			}
			err = affinity(syscall.SYS_SCHED_SETAFFINITY, number, &m)
			if err != nil && !errors.Is(err, syscall.ESRCH) { // the thread has ended
				return os.NewSyscallError("sched_setaffinity", err)
			}
		}
	}
	return nil
}

func get(process int) (m mask, err error) {
	if err := affinity(syscall.SYS_SCHED_GETAFFINITY, process, &m); err != nil {
		return m, os.NewSyscallError("sched_getaffinity", err)
	}
	return m, nil
}

func affinity(call uintptr, thread int, m *mask) error {
	_, _, errno := syscall.RawSyscall(call, uintptr(thread), unsafe.Sizeof(*m), uintptr(unsafe.Pointer(m)))
	if errno != 0 {
		return errno
	}
	return nil
}
