-- Let a token read for at least this time from now on. If it has the lock for itself, others
-- may read from now on, and the readers that are queued next are notified. So this is also how
-- a holder becomes a reader.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the set of its readers
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- Answers 1 if the token reads, 0 if it does not. A share that has ended is not revived.

--@include invite, now, reading, share, whole

local lock, queue, readers, token, ttl = KEYS[1], KEYS[2], KEYS[3], ARGV[1], whole(ARGV[2])
if not ttl or ttl == 0 then
	return redis.error_reply('ERR a number of the extension is not an integer or out of range')
end
local held = redis.pcall('GET', lock)
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local at = now()
local ends = held == '~shared' and reading(readers, token, at)
if ends then
	if at + ttl <= ends then
		return 1
	end
	-- A server without memory refuses ZADD, but not in a script that has written already. So
	-- this writes something that changes nothing, because the set needs no more memory than it
	-- has, and readers must not lose the lock. An exclusive lock is extended there too.
	redis.pcall('ZREM', readers, '')
	return share(lock, readers, token, at + ttl, ends) or 1
end
if held ~= token or held == '' or held == '~shared' then
	return 0
end
local left = redis.call('PTTL', lock)
ttl = math.max(left, ttl)
redis.call('DEL', readers)
redis.call('SET', lock, '~shared', 'PX', string.format('%.0f', ttl))
local err = share(lock, readers, token, at + ttl)
if err then
	redis.call('SET', lock, token, 'PX', string.format('%.0f', left > 0 and left or ttl))
	return err
end
invite(lock, queue, '')
return 1
