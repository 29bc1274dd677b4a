package servers

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/quorumlock/quorumlock/internal/long"
)

// settings are the settings of the environment.
type settings struct {
	addrs   string // QUORUMLOCK_ADDRS
	only    string // QUORUMLOCK_RUNG
	kind    Kind   // QUORUMLOCK_KIND
	require bool   // QUORUMLOCK_REQUIRE_CONTAINERS
	quick   bool   // nobody asks for tests that take long
}

func fromEnv() settings {
	require := os.Getenv("QUORUMLOCK_REQUIRE_CONTAINERS")
	return settings{
		addrs:   os.Getenv("QUORUMLOCK_ADDRS"),
		only:    os.Getenv("QUORUMLOCK_RUNG"),
		kind:    Kind(os.Getenv("QUORUMLOCK_KIND")),
		require: require != "" && require != "0",
		quick:   !long.Wanted(),
	}
}

// step is a rung that may be available.
type step struct {
	name string
	// open returns the rung and what it consists of, or an error with the reason why it is not
	// available.
	open func(context.Context, settings) (r rung, made string, err error)
}

// ladder lists every rung below given addresses, the best first.
var ladder = []step{
	{"containers", openContainers},
	{"processes", openProcesses},
	{"embedded", openEmbedded},
}

// climb returns the first available rung, and a sentence that says which it is and why there is
// no better one.
func climb(ctx context.Context, env settings, ladder []step) (rung, string, error) {
	if env.addrs != "" {
		r, made, err := openGiven(ctx, env)
		if err != nil { // a requested rung is not replaced
			return nil, "", fmt.Errorf("QUORUMLOCK_ADDRS: %w", err)
		}
		return narrow(r, env, "on addresses: "+made)
	}
	var why []string
	for _, step := range ladder {
		if env.only != "" && env.only != step.name {
			continue
		}
		if env.require && step.name != "containers" {
			why = append(why, "QUORUMLOCK_REQUIRE_CONTAINERS allows nothing below containers")
			break
		}
		if env.quick && step.name == "containers" && env.only == "" && env.kind == Any && !env.require {
			why = append(why, "no containers: they take long, so "+long.Hint)
			continue
		}
		r, made, err := step.open(ctx, env)
		if err == nil {
			reason := ""
			switch {
			case env.only != "":
				reason = " (as QUORUMLOCK_RUNG says)"
			case len(why) > 0:
				reason = "; " + strings.Join(why, "; ")
			}
			return narrow(r, env, "on "+step.name+": "+made+reason)
		}
		why = append(why, fmt.Sprintf("no %s: %s", step.name, strings.ReplaceAll(err.Error(), "\n", ", ")))
	}
	if len(why) == 0 {
		why = append(why, fmt.Sprintf("QUORUMLOCK_RUNG=%s is none of containers, processes, embedded", env.only))
	}
	return nil, "", fmt.Errorf("no servers: %s", strings.Join(why, "; "))
}

// narrow limits a rung to the kind that the environment requests, if any.
func narrow(r rung, env settings, why string) (rung, string, error) {
	if env.kind == Any {
		return r, why, nil
	}
	if !slices.Contains(r.kinds(), env.kind) {
		r.close()
		return nil, "", fmt.Errorf("no servers: QUORUMLOCK_KIND=%s, and it is not there: %s", env.kind, why)
	}
	if len(r.kinds()) == 1 {
		return r, why, nil
	}
	return &narrowed{r, env.kind}, why + "; only " + string(env.kind) + ", as QUORUMLOCK_KIND says", nil
}

// narrowed is a rung that is limited to one of its kinds.
type narrowed struct {
	rung
	kind Kind
}

func (n *narrowed) kinds() []Kind { return []Kind{n.kind} }

// Rung returns the sentence that [Main] prints: which rung the environment and the machine give,
// and why. It starts no server and leaves nothing behind.
func Rung(ctx context.Context) (string, error) {
	r, why, err := climb(ctx, fromEnv(), ladder)
	if err != nil {
		return "", err
	}
	r.close()
	return why, nil
}
