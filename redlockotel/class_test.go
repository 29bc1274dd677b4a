package redlockotel

import "testing"

// A permit has the class of its Semaphore's key, whatever its slot.
func TestClassOfAPermit(t *testing.T) {
	for key, want := range map[string]string{
		"jobs": "jobs", "jobs{jobs}:permits:2": "jobs", "app:jobs{app:jobs}:permits:1024": "app:jobs", "{t}x:permits:3": "{t}x",
		"jobs:permits:": "jobs:permits:", "jobs{jobs}:queue": "jobs{jobs}:queue", "{}:permits:1": "{}", "7": "7",
	} {
		if got := semaphore(key); got != want {
			t.Errorf("semaphore(%q) = %q, want %q", key, got, want)
		}
	}
}
