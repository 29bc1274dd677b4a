package adapterkit

import (
	"hash/maphash"

	"github.com/quorumlock/quorumlock/backend"
)

var keySeed = maphash.MakeSeed()

// Repeated reports for each operation of a batch whether a later operation uses one of
// its keys. It returns nil if there is none, as in most batches. Keys that scripts share
// ([backend.Script.Shares]) do not count. A script that the server does not know is sent
// again after the rest of its batch. So send a script for which Repeated is true as its
// text at once.
//
// It compares 64-bit hashes, so false positives are possible but extremely rare.
func Repeated(ops []backend.Op) []bool {
	if len(ops) < 2 {
		return nil
	}
	n := 0
	for i := range ops {
		n += max(1, len(ops[i].Keys))
	}
	var room [512]uint64
	seen := hashes(room[:])
	for len(seen) < 2*n {
		seen = make(hashes, 2*len(seen))
	}
	var repeated []bool
	note := func(i int) {
		if repeated == nil {
			repeated = make([]bool, len(ops))
		}
		repeated[i] = true
	}
	for i := len(ops) - 1; i >= 0; i-- {
		if ops[i].Kind != backend.OpEval {
			if seen.add(hashOf(ops[i].Key)) {
				note(i)
			}
			continue
		}
		keys := ops[i].Script.OwnKeys(ops[i].Keys)
		for _, key := range keys { // before any is added, because keys may have duplicates
			if seen.has(hashOf(key)) {
				note(i)
			}
		}
		for _, key := range keys {
			seen.add(hashOf(key))
		}
	}
	return repeated
}

func hashOf(key string) uint64 { return max(1, maphash.String(keySeed, key)) }

// hashes is a set of numbers above 0, at most half full. Its length is a power of two.
type hashes []uint64

// find returns the place of h, where it is or has to be stored.
func (s hashes) find(h uint64) *uint64 {
	at := h
	for {
		place := &s[at&uint64(len(s)-1)]
		if *place == h || *place == 0 {
			return place
		}
		at++
	}
}

func (s hashes) has(h uint64) bool { return *s.find(h) == h }

// add adds h, and reports whether it was there before.
func (s hashes) add(h uint64) bool {
	place := s.find(h)
	was := *place == h
	*place = h
	return was
}
