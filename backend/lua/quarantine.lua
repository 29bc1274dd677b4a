--@include clock, marker, number, whole

-- suspect returns an error if this server must not grant locks, because it may have lost what
-- it had granted. Otherwise it returns nothing.
--
-- The marker holds "<run_id> <since>". It is missing if all data was deleted. It has another
-- run_id after any restart, whatever data was loaded, and after a failover to a replica. Since
-- is the time at which this was first noticed, in microseconds of this server's clock. From
-- then on the server grants nothing for the given number of milliseconds. Since is 0 if the
-- quarantine was ended. Each caller may give another number, so that does not change the
-- marker.
local function suspect(marker, ms)
	local length = whole(ms)
	if not length or length == 0 then
		return redis.error_reply('ERR the length of the quarantine is not an integer or out of range')
	end
	local id, err = run()
	if not id then
		return err
	end
	local held
	held, err = marked(marker)
	if not held then
		return err
	end
	local now = clock()
	local of, since = string.match(held, '^(%S+) (%d+)$')
	since = number(since)
	-- A time in the future was written before the clock was set back. Nobody can tell how
	-- long ago that was.
	if of ~= id or not since or since > now then
		since = now
		redis.call('SET', marker, string.format('%s %.0f', id, now))
	end
	local left = since + length * 1000 - now
	if since > 0 and left > 0 then
		return redis.error_reply(string.format('QUARANTINE for another %.0f ms: this server has restarted, or has lost '
			.. 'its marker %q, and may have lost locks with it; this ends by itself', math.ceil(left / 1000), marker))
	end
end

