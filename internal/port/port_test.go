package port

import "testing"

func TestTake(t *testing.T) {
	busy, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	Give(busy)
	mu.Lock()
	next = busy - first // the port that Take would return next
	mu.Unlock()

	seen := map[int]bool{busy: true}
	for range 50 {
		p, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[p] {
			t.Fatalf("Take gave %d, which is taken", p)
		}
		seen[p] = true
		defer Give(p)
	}
}
