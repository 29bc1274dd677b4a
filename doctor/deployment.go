package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/internal/text"
)

// Redis 6 is the oldest server on which all tests run. Before Redis 5 a script cannot
// write after it has called TIME, so nobody can wait and there are no tokens.
const (
	oldestTested = 6
	oldestUsable = 5
)

func checkVersion(f *facts, _ *examination) verdict {
	version, err := f.value("redis_version", "")
	if err != nil {
		return notChecked(err)
	}
	word, _, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(word)
	switch advice := "Update the server, at least to version " + strconv.Itoa(oldestTested); {
	case err != nil:
		return notChecked(fmt.Errorf("INFO returns an unknown version: %s", text.Quote(version)))
	case major < oldestUsable:
		return fail(advice, "version %s is too old for the scripts of this library", text.Name(version))
	case major < oldestTested:
		return warn(advice, "version %s is older than all servers on which this library is tested", text.Name(version))
	}
	return fine("version %s", text.Name(version))
}

// mode returns standalone, sentinel, cluster, or "" if that is not known. Valkey has
// another name for the field.
func (f *facts) mode() string { return cmp.Or(f.info["redis_mode"], f.info["server_mode"]) }

// orQuarantine continues an advice. A Cluster cannot have a quarantine.
func (f *facts) orQuarantine() string {
	if f.mode() == "cluster" {
		return ""
	}
	return "; or use a quarantine (redlock run --quarantine, WithQuarantine)"
}

// checkTopology finds a Sentinel, and what a Cluster does to locks.
func checkTopology(f *facts, x *examination) verdict {
	const (
		useCluster = "Use a Cluster client (redis+cluster:// instead of redis://), and one node for the whole Cluster; or better, independent servers"
		unaware    = "it is a part of a Cluster, and the client does not know that"
	)
	switch code(f.rights.trouble) {
	case "MOVED", "ASK":
		return fail(useCluster, unaware)
	case "CLUSTERDOWN":
		return fail("Repair the Cluster (CLUSTER INFO), or turn cluster-enabled off", "it is a part of a Cluster that is down: %s", text.Line(f.rights.trouble.Error()))
	}
	if code(f.markerErr) == "MOVED" { // the keys of the trials happened to be on this server
		return fail(useCluster, unaware)
	}
	switch mode := f.mode(); {
	case f.infoErr != nil:
		return notChecked(f.infoErr)
	case mode == "":
		return notChecked(errors.New("INFO does not return redis_mode or server_mode"))
	case mode == "sentinel":
		return fail("Name the master, or use a client that asks the Sentinels for it", "it is a Sentinel, which keeps no locks")
	case mode == "cluster" && x.Quarantine > 0:
		return fail("Use independent servers, or no quarantine", "it is a part of a Cluster, which cannot have a quarantine")
	case mode == "cluster":
		return warn("Use independent servers, or count the whole Cluster as one node and check fencing tokens",
			"it is a part of a Cluster: a key is on one master only, and a failover can lose locks")
	}
	return fine("a server of its own")
}

// checkRole finds servers that accept no writes, and masters that a replica may replace.
func checkRole(f *facts, x *examination) verdict {
	const nameMaster = "Name the master"
	switch trouble := f.rights.trouble; {
	case f.info["role"] == "slave":
		return fail(nameMaster, "it is a replica of %s", text.Name(f.info["master_host"]+":"+f.info["master_port"]))
	case code(trouble) == "READONLY":
		return fail(nameMaster, "it accepts no writes: %s", text.Line(trouble.Error()))
	case code(trouble) == "NOREPLICAS":
		return fail("Restore the replicas, or set min-replicas-to-write 0", "it accepts no writes, because too few replicas are connected")
	}
	replicas, err := f.value("connected_slaves", "")
	if err != nil {
		return notChecked(err)
	}
	if replicas != "0" && x.Quarantine == 0 {
		return warn("Let no replica take its place"+f.orQuarantine(),
			"a master with %s attached: a failover loses the locks that were not replicated yet", count(text.Name(replicas), "replica"))
	}
	return fine("a master with %s attached", count(text.Name(replicas), "replica"))
}

func count(n, noun string) string {
	if n == "1" {
		return "1 " + noun
	}
	return n + " " + noun + "s"
}

// checkIdentity finds a server that is given twice.
func checkIdentity(f *facts, x *examination) verdict {
	const advice = "Name each server once. With too few servers, fewer may fail than the number of names suggests"
	id, err := f.value("run_id", "")
	for _, other := range x.servers {
		if other == f {
			break
		}
		if other.name == f.name {
			return fail(advice, "this name is given twice")
		}
		if err == nil && other.info["run_id"] == id {
			return fail(advice, "it is the same server as %s", other.name)
		}
	}
	if err != nil {
		return notChecked(err)
	}
	return fine("no other name leads to it")
}

// checkCount looks at the number of servers. Four of them tolerate the failure of one, as
// three do, and fail more often.
func (x *examination) checkCount() verdict {
	switch n := len(x.servers); {
	case n == 1:
		return warn("Use three independent servers, if a failure of this one must not stop your program", "a single server: while it is down, nobody gets a lock")
	case n%2 == 0:
		return warn("Add a server or leave one out", "%d servers tolerate no more failures than %d", n, n-1)
	default:
		return fine("%d servers tolerate the failure of %d", n, (n-1)/2)
	}
}

// checkUptime finds a server that has been restarted and has lost what it had.
func checkUptime(f *facts, x *examination) verdict {
	uptime, err := f.seconds("uptime_in_seconds", "")
	if err != nil {
		return notChecked(err)
	}
	if uptime >= x.TTL {
		return fine("up for %v", uptime)
	}
	switch persistent, err := f.appends(); {
	case x.Quarantine > 0:
		return fine("up for %v; the quarantine covers what it may have lost", uptime)
	case err != nil:
		return notChecked(err)
	case persistent:
		return fine("up for %v; it has loaded its data", uptime)
	}
	return warn(fmt.Sprintf("Stop it, and start it again after more than the longest TTL (%v)%s", x.TTL, f.orQuarantine()),
		"it was started %v ago and keeps nothing on disk, so it may have lost locks that are still held", uptime)
}
