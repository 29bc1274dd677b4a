-- Take the lock, or find that this very token has it already: SET NX that may
-- be sent again when its reply was lost. A waiter that is refused stands in the
-- queue from then on; one for which the lock is reserved gets it.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue; missing, or any key, for one who does not wait
-- KEYS[3]  the server's marker; missing for no quarantine
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the waiter's ticket, empty or missing for one who does not wait
-- ARGV[4]  for how long it has waited, in milliseconds; with a ticket only
-- ARGV[5]  for how long the server does not vote when it may have lost anything, in
--          milliseconds; with a marker only
-- Answers {1, time to live} if the token has the lock, else {0, time to live,
-- rank, owner}. The time is in milliseconds, -1 if the key does not expire. Rank
-- is how many stand before this waiter, -1 if it does not stand in the queue: no
-- ticket, an inbox that is not heard here, a queue that cannot be used. Owner is
-- the last 32 bytes of what the lock holds, empty if that is no string. If the ticket
-- was not queued because a command failed, that command and its error follow.
-- Fails with QUARANTINE if the server must not vote yet. Nothing was done then, but
-- for the marker.

local ttl, ticket, waited = whole(ARGV[2]), ARGV[3] or '', whole(ARGV[4])
if not ttl or ttl == 0 or ticket ~= '' and KEYS[2] and not waited then
	return redis.error_reply('ERR a number of the acquire is not an integer or out of range')
end
local err = KEYS[3] and suspect(KEYS[3], ARGV[5])
if err then
	return err
end
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] then
	return {1, redis.call('PTTL', KEYS[1])}
end
if not held or ticket ~= '' and held == '~' .. ticket then
	redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', ttl))
	if ticket ~= '' and KEYS[2] then
		redis.pcall('ZREM', KEYS[2], ticket)
	end
	return {1, ttl}
end
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
return {0, refuse(KEYS[1], held, KEYS[2], ticket, waited)}
