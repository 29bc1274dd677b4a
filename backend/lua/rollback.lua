-- Take back what a failed attempt was granted, and go on waiting.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the tombstone of the token, or omitted. It is added whether or not the lock holds
--          the token
-- ARGV[1]  the token, or ''
-- ARGV[2]  the waiter's ticket; or '', or omitted
-- ARGV[3]  how long it has waited, in milliseconds; needed with a ticket
-- ARGV[4]  '1' to notify the next waiter; anything else only deletes the lock
-- ARGV[5]  how long the tombstone is kept, in milliseconds; needed with a tombstone
-- Answers 1 if the lock held the token, 0 if it is missing or holds anything else. What
-- release adds to its answer follows here too.

--@include enqueue, notify, tombstone, whole

local held = redis.pcall('GET', KEYS[1])
-- A key of another type belongs to another program. The caller must see any other error.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local ticket = ARGV[2] or ''
local waited, stands = whole(ARGV[3]), whole(ARGV[5])
if ticket ~= '' and not waited then
	return redis.error_reply('ERR the time waited is not an integer or out of range')
end
if KEYS[3] and (not stands or stands == 0) then
	return redis.error_reply('ERR the life of the tombstone is not an integer or out of range')
end
local mine, why, rest = 0, nil, nil
if held == ARGV[1] and held ~= '' then
	mine = 1
	if ARGV[4] == '1' then
		-- The waiter is queued again only after this, or it would notify itself.
		if ticket ~= '' then
			redis.pcall('ZREM', KEYS[2], ticket)
		end
		why, rest = notify(KEYS[1], KEYS[2])
	else
		redis.call('DEL', KEYS[1])
	end
end
if ticket ~= '' then
	enqueue(KEYS[2], ticket, waited)
end
if KEYS[3] then
	entomb(KEYS[3], stands)
end
if why then
	return {mine, why, rest}
end
return mine
