package main

import (
	"encoding/json"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// lockJSON returns a lock that is valid until then as the JSON object that the help of lock and extend describes.
// The handover is a secret, so it is there only if secret is true.
func lockJSON(h redlock.Handover, until time.Time, secret bool) ([]byte, error) {
	object := struct {
		Key        string            `json:"key"`
		Handover   *redlock.Handover `json:"handover,omitempty"`
		Fence      uint64            `json:"fence"`
		Owner      string            `json:"owner"`
		ValidMS    int64             `json:"valid_ms"`
		ValidUntil time.Time         `json:"valid_until"`
	}{
		Key: h.Key(), Fence: h.Fence(), Owner: h.Owner(),
		ValidMS: max(0, time.Until(until).Milliseconds()), ValidUntil: until.Round(time.Millisecond),
	}
	if secret {
		object.Handover = &h
	}
	return json.Marshal(object)
}
