package server

import (
	"testing"
	"time"
)

func TestCPUOfInfo(t *testing.T) {
	got, err := parseCPU("# CPU\r\nused_cpu_sys:1.250000\r\nused_cpu_user:0.500001\r\nused_cpu_sys_children:9.0\r\nused_cpu_user_children:9.0\r\n")
	if want := 1750001 * time.Microsecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v: without the time of child processes", got, err, want)
	}
	for _, text := range []string{"", "used_cpu_sys:1\r\n", "used_cpu_sys:1\r\nused_cpu_user:much\r\n"} {
		if got, err := parseCPU(text); err == nil {
			t.Errorf("%q: got %v and no error", text, got)
		}
	}
}
