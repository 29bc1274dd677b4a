package doctor

import "context"

// A check decides about one server, from what it has told.
type check struct {
	name string
	run  func(*facts, *examination) verdict

	// last says that a failure of this check explains what the later ones would find on
	// the same server. They are left out then.
	last bool
}

// checks is every check of one server, in the order of the report.
var checks = []check{
	{name: "connection", run: checkConnection, last: true},
	{name: "topology", run: checkTopology, last: true},
	{name: "identity", run: checkIdentity, last: true},
	{name: "version", run: checkVersion},
	{name: "role", run: checkRole},
	{name: "latency", run: checkLatency},
	{name: "clock", run: checkClock},
	{name: "rights", run: checkRights},
	{name: "waiting", run: checkWaiting},
	{name: "fencing", run: checkFencing},
	{name: "quarantine", run: checkQuarantine},
	{name: "bookkeeping", run: checkBookkeeping},
	{name: "appendonly", run: checkAppendOnly},
	{name: "appendfsync", run: checkAppendFsync},
	{name: "save", run: checkSave},
	{name: "uptime", run: checkUptime},
	{name: "eviction", run: checkEviction},
	{name: "memory", run: checkMemory},
	{name: "maxclients", run: checkMaxClients},
	{name: "timeout", run: checkTimeout},
	{name: "pubsub-buffer", run: checkPubSubBuffer},
}

// report runs all checks. The probe comes last and uses only servers without a failure,
// so that one fault is one finding.
func (x *examination) report(ctx context.Context) Report {
	var report Report
	add := func(name, server string, v verdict) {
		if v.what == "" {
			return
		}
		if v.check != "" {
			name = v.check
		}
		report = append(report, Finding{Check: name, Server: server, Level: v.level, What: v.what, Advice: v.advice})
	}
	for _, f := range x.servers {
		for _, c := range checks {
			v := c.run(f, x)
			add(c.name, f.name, v)
			if v.level == Failure {
				f.failed = true
				if c.last {
					break
				}
			}
		}
	}
	add("count", "", x.checkCount())
	add("local-clock", "", x.checkLocalClock())
	add("probe", "", x.checkProbe(ctx))
	return report
}
