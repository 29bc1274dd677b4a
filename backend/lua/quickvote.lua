-- What most votes are: for a lock that is free, of one who does not wait and has no
-- tombstone, with a counter that is behind a hint which the clock allows. This goes
-- before the functions, since to make them takes a server half as long as what follows.
-- Whatever is not so is for the rest of the script, and so is a server that does not let
-- its user do this, or does not write now: it may have a refusal to tell.
--
-- Where there is no queue there is no marker either, and a ticket without a queue makes
-- no difference while the lock is free.
--
-- Clocks have had sixteen digits since 2001, and texts of as many digits compare as
-- their numbers do, in every locale. They must be digits: a number may be written in
-- other ways, and what is written to the counter is the hint as it came. SET wants its
-- numbers without noughts before them. A tombstone is a string, as MGET finds it.
if not KEYS[4] or not KEYS[5] and (ARGV[5] or '') == '' then
	local seen, ttl, hint, keep = redis.pcall('MGET', KEYS[2], KEYS[3]), ARGV[2], ARGV[3], ARGV[4]
	local c = seen[1]
	if c and not seen[2] and #c == 16 and #hint == 16 and ttl >= '1' and #ttl <= 15 and keep >= '1' and #keep <= 15
		and string.find(hint .. c .. ttl .. keep, '^[1-9]%d+$') and c < hint and hint <= '9007199254740991' then
		local t, vote = redis.call('TIME'), tonumber(hint)
		local now = t[1] * 1000000 + t[2]
		local taken = vote >= now - 250000 and vote <= now + 250000 and redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ttl)
		if taken and not taken.err then
			local moved = redis.pcall('SET', KEYS[2], hint, 'PX', keep)
			if moved.err then -- there must be no lock without its vote
				redis.call('DEL', KEYS[1])
				return moved
			end
			return now
		end
	end
end
