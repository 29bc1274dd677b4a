package proto

import (
	"errors"
	"math"
	"testing"
	"time"
)

// The rest of a quarantine is read from what a server says, and from nothing else.
func TestQuarantineLeft(t *testing.T) {
	for said, want := range map[string]time.Duration{
		"QUARANTINE for another 1500 ms: this server has restarted": 1500 * time.Millisecond,
		"ERR user_script: QUARANTINE for another 7 ms: this server": 7 * time.Millisecond,
		"QUARANTINE for another 0 ms":                               0,
		"QUARANTINE for another -5 ms":                              0,
		"QUARANTINE for another 9223372036854 ms":                   math.MaxInt64 / time.Millisecond * time.Millisecond,
		"QUARANTINE for another 9223372036855 ms":                   0,
		"QUARANTINE for another 99999999999999999999 ms":            0,
		"QUARANTINE for another 5 s":                                0,
		"QUARANTINE for ever":                                       0,
		"":                                                          0,
	} {
		if got := QuarantineLeft(errors.New(said)); got != want {
			t.Errorf("%q: %v, want %v", said, got, want)
		}
	}
}
