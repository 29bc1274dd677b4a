package doctor

import "github.com/quorumlock/quorumlock/internal/text"

// With a quarantine, a server that has lost data grants nothing until all that it had
// granted has ended. So then it may lose data, and these checks find no fault.

// appends reports whether the server has an append-only file.
func (f *facts) appends() (bool, error) {
	v, err := f.value("aof_enabled", "appendonly")
	return v == "1" || v == "yes", err
}

func checkAppendOnly(f *facts, x *examination) verdict {
	switch on, err := f.appends(); {
	case err != nil:
		return notChecked(err)
	case on:
		return fine("on")
	case x.Quarantine > 0:
		return fine("off; the quarantine covers what a restart loses")
	}
	return warn("Set appendonly yes and appendfsync always"+f.orQuarantine()+"; or start the server again only after the longest TTL",
		"off: a server that restarts has lost its locks, and others can take them")
}

func checkAppendFsync(f *facts, x *examination) verdict {
	on, err := f.appends()
	switch {
	case err != nil:
		return notChecked(err)
	case !on:
		return fine("not in use")
	case x.Quarantine > 0:
		return fine("the quarantine covers what a crash loses")
	}
	policy, err := f.value("", "appendfsync")
	if err != nil {
		return notChecked(err)
	}
	advice := "Set appendfsync always" + f.orQuarantine()
	switch policy {
	case "always":
		if f.config["no-appendfsync-on-rewrite"] == "yes" {
			return warn("Set no-appendfsync-on-rewrite no", "no-appendfsync-on-rewrite is yes: nothing is synced while the file is rewritten")
		}
		return fine("always")
	case "everysec":
		return warn(advice, "everysec: a crash of the machine loses the locks of about a second")
	}
	return warn(advice, "%s: a crash of the machine loses the locks of up to half a minute", text.Name(policy))
}

// checkSave finds a server that cannot write to its disk.
func checkSave(f *facts, _ *examination) verdict {
	const advice = "See the server's log; the disk may be full, or the folder not writable"
	rdb, err := f.value("rdb_last_bgsave_status", "")
	switch {
	case code(f.rights.trouble) == "MISCONF":
		return fail(advice, "it accepts no writes, because it could not save its data (MISCONF)")
	case err != nil:
		return notChecked(err)
	case f.info["aof_last_write_status"] == "err":
		return fail(advice, "it could not write its append-only file")
	case rdb == "err":
		return warn(advice, "its last snapshot failed")
	case f.info["aof_last_bgrewrite_status"] == "err":
		return warn(advice, "its last rewrite of the append-only file failed")
	}
	return fine("its data was saved without an error")
}
