-- suspect returns an error if this server must not vote, because it may have lost
-- what it had granted, else nothing.
--
-- The marker holds "<run_id> <since>". It is missing after everything was deleted,
-- and of another run after a start, with whatever data, and where a replica has
-- taken its master's place. Since is when that was first seen, in microseconds of
-- this server's clock; from then on it does not vote for so many milliseconds. It
-- is 0 if the server was said to be well. The one who asks changes nothing about
-- since: each may have a length of his own.
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
	-- One in the future was written before the clock was set back: how long ago
	-- that is, nobody can tell.
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

