package testnodes

import (
	"errors"
	"strings"
	"sync/atomic"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// Halves is a node of two parts: keys that begin with "h", and the others.
type Halves struct{ *faulty.FaultNode }

func (Halves) Partition(key string) (part, parts int) {
	if strings.HasPrefix(key, "h") {
		return 1, 2
	}
	return 0, 2
}

// MigratingSlot is what a Cluster does that has the keys of a script on two servers. It
// counts the scripts that are refused.
func MigratingSlot(refused *atomic.Int32) faulty.Fault {
	return faulty.On(func(op backend.Op) bool {
		two := op.Kind == backend.OpEval && len(op.Keys) > 1
		if two {
			refused.Add(1)
		}
		return two
	}, faulty.Refuse(backend.MarkReply(errors.New("TRYAGAIN Multiple keys request during rehashing of slot"))))
}
