package doctor

import (
	"fmt"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/internal/text"
)

const (
	// A full server grants no lock. From fullShare of maxmemory on, one large client can
	// fill the rest before anybody looks.
	fullShare = 0.9

	// Without maxmemory, a save or a rewrite copies pages that change meanwhile. From
	// machineShare of the machine's memory on there may be no room for that, and the
	// system kills the server.
	machineShare = 0.75
)

// number returns a field of INFO, or a parameter, that is a number.
func (f *facts) number(field, parameter string) (int64, error) {
	v, err := f.value(field, parameter)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not a number: %s", field+parameter, text.Quote(v))
	}
	return n, nil
}

// seconds returns a field of INFO, or a parameter, that is a number of seconds.
func (f *facts) seconds(field, parameter string) (time.Duration, error) {
	n, err := f.number(field, parameter)
	return time.Duration(min(n, int64(1<<62/time.Second))) * time.Second, err
}

func checkEviction(f *facts, _ *examination) verdict {
	policy, err := f.value("maxmemory_policy", "maxmemory-policy")
	if err != nil {
		return notChecked(err)
	}
	if policy == "noeviction" {
		return fine("noeviction")
	}
	const advice = "Set maxmemory-policy noeviction, or use servers that keep only locks"
	if limit, err := f.number("maxmemory", "maxmemory"); err == nil && limit == 0 {
		return warn(advice, "maxmemory-policy is %s: locks could be evicted if maxmemory were set", text.Name(policy))
	}
	return fail(advice, "maxmemory-policy is %s: a full server evicts locks that are held", text.Name(policy))
}

func checkMemory(f *facts, _ *examination) verdict {
	const advice = "Raise maxmemory, or delete what else the server stores"
	if code(f.rights.trouble) == "OOM" {
		return fail(advice, "it is full, and grants no locks (OOM)")
	}
	used, err1 := f.number("used_memory", "")
	limit, err2 := f.number("maxmemory", "maxmemory")
	if err := first(err1, err2); err != nil {
		return notChecked(err)
	}
	if limit > 0 {
		what := fmt.Sprintf("%.0f %% of maxmemory is in use", 100*float64(used)/float64(limit))
		if float64(used) > fullShare*float64(limit) {
			return warn(advice, "%s; a full server grants no locks", what)
		}
		return fine("%s", what)
	}
	if machine, err := f.number("total_system_memory", ""); err == nil && float64(used) > machineShare*float64(machine) {
		return warn("Set maxmemory, and delete what else the server stores", "it uses %.0f %% of the machine's memory, without a maxmemory", 100*float64(used)/float64(machine))
	}
	return fine("maxmemory is not set, and the machine has enough memory")
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
