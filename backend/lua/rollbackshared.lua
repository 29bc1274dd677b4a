-- Take back what a failed attempt to read was granted, and go on waiting.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the set of its readers
-- ARGV[1]  the token, or ''
-- ARGV[2]  the waiter's ticket; or '', or omitted
-- ARGV[3]  how long it has waited, in milliseconds; needed with a ticket
-- ARGV[4]  '1' to notify the next waiter if nobody reads any more; anything else only deletes
--          the lock
-- Answers as releaseshared.lua does.

--@include enqueue, notify, now, unshare, whole

local held = redis.pcall('GET', KEYS[1])
-- A key of another type belongs to another program. The caller must see any other error.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local ticket, waited = ARGV[2] or '', whole(ARGV[3])
if ticket ~= '' and not waited then
	return redis.error_reply('ERR the time waited is not an integer or out of range')
end
local mine, last, why, rest = 0, false, nil, nil
if held == '~shared' then
	mine, last = unshare(KEYS[1], KEYS[3], ARGV[1], now())
elseif held == ARGV[1] and held ~= '' then
	mine, last = 1, true
end
if last and ARGV[4] == '1' then
	-- The waiter is queued again only after this, or it would notify itself.
	if ticket ~= '' then
		redis.pcall('ZREM', KEYS[2], ticket)
	end
	why, rest = notify(KEYS[1], KEYS[2])
elseif last then
	redis.call('DEL', KEYS[1])
end
if ticket ~= '' then
	enqueue(KEYS[2], ticket, waited)
end
if why then
	return {mine, why, rest}
end
return mine
