-- Take back what an attempt was granted that has lost, and go on waiting.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the tombstone of the token, to put up whether the lock held the token
--          or not; missing for none
-- ARGV[1]  the token, empty for none
-- ARGV[2]  the waiter's ticket, empty or missing for none
-- ARGV[3]  for how long it has waited, in milliseconds; with a ticket only
-- ARGV[4]  '1' to call the next waiter, anything else to delete the lock only
-- ARGV[5]  for how long the tombstone stands, in milliseconds; with one only
-- Answers 1 if the lock held the token, 0 if it is missing or holds anything else, and
-- what release answers if the next waiter could not be notified, or was not reached.

local held = redis.pcall('GET', KEYS[1])
-- A key of another type is somebody else's; any other error is the caller's to see.
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
		-- The waiter stands in the queue again only after the call, or it
		-- would call itself.
		if ticket ~= '' then
			redis.pcall('ZREM', KEYS[2], ticket)
		end
		why, rest = call(KEYS[1], KEYS[2])
	else
		redis.call('DEL', KEYS[1])
	end
end
if ticket ~= '' then
	enqueue(KEYS[2], ticket, waited)
end
if KEYS[3] then
	bury(KEYS[3], stands)
end
if why then
	return {mine, why, rest}
end
return mine
