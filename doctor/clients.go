package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// One client in five more can be a deployment, during which old and new processes run
	// side by side.
	clientShare = 0.8

	// A notification is about 100 bytes. A process with 10,000 waiters that are notified at
	// once gets a megabyte. A smaller limit cuts its connection.
	leastBuffer = 1 << 20

	// Connections that are idle between two extensions, or between two rare jobs, should
	// stay open. So the limit is a minute, or the TTL if that is longer.
	leastIdle = time.Minute
)

func checkMaxClients(f *facts, _ *examination) verdict {
	connected, err1 := f.number("connected_clients", "")
	limit, err2 := f.number("maxclients", "maxclients")
	if err := first(err1, err2); err != nil {
		return notChecked(err)
	}
	what := fmt.Sprintf("%d of %d connections are in use", connected, limit)
	if float64(connected) > clientShare*float64(limit) {
		return warn("Raise maxclients, or find out which clients keep connections (CLIENT LIST)", "%s; a server without a free one counts as down", what)
	}
	return fine("%s", what)
}

func checkTimeout(f *facts, x *examination) verdict {
	idle, err := f.seconds("", "timeout")
	if err != nil {
		return notChecked(err)
	}
	if idle > 0 && idle < max(leastIdle, x.TTL) {
		return warn(fmt.Sprintf("Set timeout 0, or at least %.0f", max(leastIdle, x.TTL).Seconds()),
			"it closes connections that are idle for %v, and the next lock or extension must open a new one", idle)
	}
	return fine("it closes no connection that is idle for a short time")
}

func checkPubSubBuffer(f *facts, _ *examination) verdict {
	limits, err := f.value("", "client-output-buffer-limit")
	if err != nil {
		return notChecked(err)
	}
	words := strings.Fields(limits) // class, hard limit, soft limit, seconds, and so on
	for i := 0; i+3 < len(words); i += 4 {
		if words[i] != "pubsub" {
			continue
		}
		hard, err1 := strconv.ParseInt(words[i+1], 10, 64)
		soft, err2 := strconv.ParseInt(words[i+2], 10, 64)
		if first(err1, err2) != nil {
			break
		}
		if hard > 0 && hard < leastBuffer || soft > 0 && soft < leastBuffer {
			return warn("Set client-output-buffer-limit pubsub 32mb 8mb 60, the default",
				"the limit for subscribers is %d bytes, and %d for %s s: many notifications at once cut the connection, and waiters poll until it is back", hard, soft, words[i+3])
		}
		return fine("notifications fit into it")
	}
	return notChecked(errors.New("client-output-buffer-limit has an unknown form"))
}
