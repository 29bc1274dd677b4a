package proto

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// QuarantineLeft returns how much longer a node that answered err is in quarantine, or 0
// if err does not say so.
func QuarantineLeft(err error) time.Duration {
	var ms int64
	_, after, _ := strings.Cut(err.Error(), "QUARANTINE for another ")
	if _, err := fmt.Sscanf(after, "%d ms", &ms); err != nil || ms < 0 || ms > int64(math.MaxInt64/time.Millisecond) {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
