package adapterkit_test

import (
	"fmt"
	"testing"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

func TestClusterSlot(t *testing.T) {
	for _, test := range []struct {
		key  string
		want int
	}{
		{"", 0},
		{"123456789", 0x31C3}, // the check value of the specification
		{"foo", 12182},
		{"a{foo}b", 12182},
		{"a{foo}{bar}", 12182},
		{"{foo", adapterkit.ClusterSlot("x{{foo}")},
	} {
		if got := adapterkit.ClusterSlot(test.key); got != test.want {
			t.Errorf("%q: %d, want %d", test.key, got, test.want)
		}
	}
	if adapterkit.ClusterSlot("{}foo") == adapterkit.ClusterSlot("") || adapterkit.ClusterSlot("foo{}{bar}") == adapterkit.ClusterSlot("bar") {
		t.Error("empty braces are no tag")
	}
}

// Neighbouring slots are in the same part, and every part has slots.
func TestClusterPartition(t *testing.T) {
	const parts = 64
	seen := make(map[int]int) // each part's lowest slot
	for i := range 20_000 {
		key := fmt.Sprint("k", i)
		part, n := adapterkit.ClusterPartition(key)
		if n != parts || part < 0 || part >= n {
			t.Fatalf("%s: part %d of %d", key, part, n)
		}
		slot := adapterkit.ClusterSlot(key)
		if first, ok := seen[part]; ok && (slot-first > 255 || first-slot > 255) {
			t.Fatalf("slots %d and %d are both in part %d", first, slot, part)
		}
		seen[part] = slot
	}
	if len(seen) != parts {
		t.Errorf("%d parts have keys, want %d", len(seen), parts)
	}
}
