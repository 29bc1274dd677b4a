-- Release the lock and call the next waiter. One who gives up waiting sends this
-- too, without a token: he leaves the queue, and if the lock is reserved for him,
-- or free, the next one is called.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the tombstone of the token, to put up whether the lock held the token
--          or not; missing for none
-- ARGV[1]  the token, empty for none
-- ARGV[2]  the ticket of one who stands in the queue or was called, empty or
--          missing for none
-- ARGV[3]  a channel on which to publish 'ok' when the token is released, for
--          waiters of another library; empty or missing for none
-- ARGV[4]  for how long the tombstone stands, in milliseconds; with one only
-- Answers 1 if the lock held the token, 0 if it is missing or holds anything else. If the
-- next waiter could not be notified, the answer is followed by the command that failed and
-- its error: the user may lack the right to ZPOPMIN, SET or PUBLISH. If there may be more
-- tickets of the dead than the script removes at a time, the lock is free and the answer
-- is followed by '' and 1: send release without a token until that is no longer so.

-- held is what quick has found. A key of another type is somebody else's; any other
-- error is the caller's to see.
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
	why, rest = call(KEYS[1], KEYS[2])
	if ARGV[3] and ARGV[3] ~= '' then
		redis.pcall('PUBLISH', ARGV[3], 'ok')
	end
elseif not held or ticket ~= '' and held == '~' .. ticket then
	why, rest = call(KEYS[1], KEYS[2])
end
-- Last, since a server without memory lets a script write that has deleted.
if KEYS[3] then
	bury(KEYS[3], stands)
end
if why then
	return {mine, why, rest}
end
return mine
