-- Release the lock and notify the next waiter. A waiter that gives up sends this too, without
-- a token: it leaves the queue, and if the lock is free or reserved for it, the next waiter
-- is notified. If others read meanwhile, the readers behind it no longer have to wait for it.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the tombstone of the token, or omitted. It is added whether or not the lock holds
--          the token
-- ARGV[1]  the token, or ''
-- ARGV[2]  the ticket of a waiter that is queued or was notified; or '', or omitted
-- ARGV[3]  a channel on which 'ok' is published when the token is released, for waiters of
--          another library; or '', or omitted
-- ARGV[4]  how long the tombstone is kept, in milliseconds; needed with a tombstone
-- Answers 1 if the lock held the token, 0 if it is missing or holds anything else. If the
-- next waiter could not be notified, the command that failed and its error follow. The user
-- may lack the right to ZPOPMIN, SET or PUBLISH. If there may be more tickets of dead waiters
-- than one script removes, the lock is free, and '' and 1 follow. Then send release without a
-- token until the answer no longer says so.

-- The common case: the lock holds the token, nobody is in the queue, and there is nothing
-- else to do. It comes before the functions, because defining them takes a server half as
-- long as the rest. All other cases are left to the rest of the script. So is a queue that
-- the user may not look at.
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] and held ~= '' and not ARGV[2] and not KEYS[3] and redis.pcall('EXISTS', KEYS[2]) == 0 then
	return redis.call('DEL', KEYS[1])
end

--@include invite, notify, tombstone, whole

-- A key of another type belongs to another program. The caller must see any other error.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local stands = whole(ARGV[4])
if KEYS[3] and (not stands or stands == 0) then
	return redis.error_reply('ERR the life of the tombstone is not an integer or out of range')
end
local ticket = ARGV[2] or ''
if ticket ~= '' then
	redis.pcall('ZREM', KEYS[2], ticket)
end
local mine, why, rest = 0, nil, nil
if held == ARGV[1] and held ~= '' then
	mine = 1
	why, rest = notify(KEYS[1], KEYS[2])
	if ARGV[3] and ARGV[3] ~= '' then
		redis.pcall('PUBLISH', ARGV[3], 'ok')
	end
elseif not held or ticket ~= '' and held == '~' .. ticket then
	why, rest = notify(KEYS[1], KEYS[2])
elseif ticket ~= '' and held == '~shared' then
	invite(KEYS[1], KEYS[2], '')
end
-- This comes last, because a server without memory lets a script write after it has deleted.
if KEYS[3] then
	entomb(KEYS[3], stands)
end
if why then
	return {mine, why, rest}
end
return mine
