-- What most votes are: for a lock that is free, of one who does not wait and has no
-- tombstone, with a counter that is behind a hint which the clock allows. This goes
-- before the functions, since to make them takes a server half as long as what follows.
-- Whatever is not so is for the rest of the script, and so is a server that does not let
-- its user do this, or does not write now: it may have a refusal to tell.
--
-- Where there is no queue there is no marker either, and a ticket without a queue makes
-- no difference while the lock is free.
--
-- When the lock ends says what time it is, with less work than TIME, which is for servers
-- before Redis 7 and users who may not ask for that. It does to the millisecond: of a hint
-- at the very end of what the clock allows the rest has to judge, and the answer is the
-- middle of that millisecond.
--
-- Clocks have had sixteen digits since 2001, and texts of as many digits compare as
-- their numbers do, in every locale. They must be digits: a number may be written in
-- other ways, and what is written to the counter is the hint as it came. (The hint
-- begins with no nought either: it is above a counter that does not.) What SET does not take for
-- a number may still be one to the rest. A tombstone is a string, as MGET finds it.
if not KEYS[4] or not KEYS[5] and (ARGV[5] or '') == '' then
	local seen, ttl, hint, keep = redis.pcall('MGET', KEYS[2], KEYS[3]), ARGV[2], ARGV[3], ARGV[4]
	local c = seen[1]
	if c and not seen[2] and #c == 16 and #hint == 16 and #ttl <= 15 and #keep <= 15 and keep ~= '0'
		and string.find(c, '^[1-9]%d+$') and string.find(hint, '^%d+$') and c < hint then
		local taken = redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ttl)
		if taken and not taken.err then
			local ends, now = redis.pcall('PEXPIRETIME', KEYS[1])
			if type(ends) == 'number' then
				now = (ends - ttl) * 1000
			else
				local t = redis.pcall('TIME')
				now = not t.err and math.floor(t[1] * 1000 + t[2] / 1000) * 1000 or 0
			end
			local ahead = hint - now
			if ahead >= -249000 and ahead <= 250000 and now < 9007199254000000 then
				local moved = redis.pcall('SET', KEYS[2], hint, 'PX', keep)
				if not moved.err then
					return now + 500
				end
			end
			-- There must be no lock without its vote: the rest would take the counter for
			-- that, and it is another's. Who may not delete is told, and goes no further.
			redis.call('DEL', KEYS[1])
		end
	end
end
