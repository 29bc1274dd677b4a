-- Take the lock, or find that this token already has it. Unlike SET NX, this may be sent again
-- if its reply was lost. If the lock is taken, a waiter is added to the queue. If the lock is
-- reserved for the waiter, the waiter gets it.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue. A caller that does not wait may omit it, or send any key
-- KEYS[3]  the server's marker, if there is a quarantine
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the waiter's ticket. A caller that does not wait omits it, or sends ''
-- ARGV[4]  how long it has waited, in milliseconds; needed with a ticket and a queue
-- ARGV[5]  how long the quarantine is, in milliseconds: the server grants nothing for this
--          time if it may have lost data; needed with a marker
-- Answers {1, time to live} if the token has the lock. Otherwise {0, time to live, rank,
-- owner}. The time is in milliseconds, -1 if the key does not expire. Rank is the number of
-- waiters before this one, or -1 if it is not queued: it has no ticket, its inbox has no
-- subscriber here, or the queue cannot be used. Owner is the last 32 bytes of the lock's
-- value, empty if that is not a string. If the ticket was not queued because a command
-- failed, that command and its error follow.
-- Fails with QUARANTINE if the server must not grant yet. Then nothing but the marker has
-- changed. Without a queue, it fails with NOPERM if the user has no right to DEL the lock.

--@include quarantine, refuse, whole

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
	-- An acquire without a queue is the first one on a server, or is rare for another reason. So
	-- this check costs little. It needs Redis 7. (It does not try DEL, because a server without
	-- memory lets a script write after it has deleted.)
	if not KEYS[2] and redis.acl_check_cmd and not redis.acl_check_cmd('DEL', KEYS[1]) then
		return redis.error_reply('NOPERM the user may not DEL the lock, and so could not release it')
	end
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
