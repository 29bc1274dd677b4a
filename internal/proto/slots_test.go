package proto

import (
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// The slots of a lock have names, which lead back to the lock, and one queue.
func TestSlotKey(t *testing.T) {
	for _, tc := range []struct {
		key         string
		i           int
		slot, queue string
	}{
		{"k", 1, "k{k}:permits:1", "k{k}:permits:queue"},
		{"k", 1024, "k{k}:permits:1024", "k{k}:permits:queue"},
		{"a{t}b", 42, "a{t}b:permits:42", "a{t}b:permits:queue"},
		{"{t}", 7, "{t}:permits:7", "{t}:permits:queue"},
		{"a}b", 1, "", ""},
		{"a{b", 1, "", ""},
	} {
		name, ok := PermitsKey(tc.key)
		if ok != (tc.slot != "") {
			t.Errorf("PermitsKey(%q) = %q, %v", tc.key, name, ok)
		}
		if !ok {
			continue
		}
		slot := SlotKey(name, tc.i)
		if got, i, ok := Slot(slot); slot != tc.slot || got != name || i != tc.i || !ok {
			t.Errorf("Slot(%q) = %q, %d, %v, want the slot %q of %q", slot, got, i, ok, tc.slot, name)
		}
		if queue, ok := QueueKey(slot); queue != tc.queue || !ok {
			t.Errorf("QueueKey(%q) = %q, %v, want %q", slot, queue, ok, tc.queue)
		}
		if tagOf(slot) != tagOf(tc.key) || tagOf(tc.queue) != tagOf(tc.key) {
			t.Errorf("%q, %q and %q are not in one slot of a Cluster", tc.key, slot, tc.queue)
		}
		if Conflict(slot) == "" || Conflict(tc.queue) == "" || Conflict(name) == "" || SlotConflict(slot) != "" || SlotConflict(name) == "" {
			t.Errorf("%q, %q or %q may be the key of a lock, or the first may not be that of a slot", slot, tc.queue, name)
		}
	}
}

func TestNoSlot(t *testing.T) {
	if SlotConflict("k{k}:queue:permits:1") == "" || SlotConflict("{k}:queue:permits:1") == "" || SlotConflict("k") != "" {
		t.Error("a slot of a key that is in conflict, or the reverse")
	}
	for _, key := range []string{
		"", "1", ":1", "k", "k{k}", "k1", "k:permits:1", "k{k}:permits:", "k{k}:permits:0", "k{k}:permits:01", "k{k}:permits:1025",
		"k{k}:permits:99999999999999999999", "k{k}:permits", "k{k}:1", "k{k:permits:1}", "k{}:permits:1", "k{k}:permits:1:fence", "k{k}:permits:-1",
	} {
		if lock, i, ok := Slot(key); lock != key || i != 0 || ok {
			t.Errorf("Slot(%q) = %q, %d, %v, want no slot", key, lock, i, ok)
		}
	}
}

func TestReadSlots(t *testing.T) {
	got, err := ReadSlots(backend.Reply{int64(-2), int64(-1), int64(0), int64(1500)}, 4)
	if want := []time.Duration{Free, Forever, 0, 1500 * time.Millisecond}; err != nil || !slices.Equal(got, want) {
		t.Errorf("ReadSlots = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []backend.Reply{nil, {int64(1)}, {int64(1), "x"}, {int64(1), int64(1), int64(1)}} {
		if got, err := ReadSlots(bad, 2); err == nil {
			t.Errorf("ReadSlots(%v) = %v, want an error", bad, got)
		}
	}
	for _, ticket := range []string{"", "20:inbox"} {
		op := (&Slots{[]string{"a", "b"}, ticket}).Op()
		if s := ParseSlots(op.Keys, op.Args); !slices.Equal(s.Keys, []string{"a", "b"}) || s.Ticket != ticket {
			t.Errorf("parsed %+v, want the keys a and b and the ticket %q", s, ticket)
		}
	}
}
