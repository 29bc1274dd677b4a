-- Take the lock, or find that this very token has it already: SET NX that may
-- be sent again when its reply was lost.
--
-- KEYS[1]  the lock
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- Answers {1, time to live} if the token has the lock, else {0, time to live},
-- in milliseconds, -1 if the key does not expire.

local held = redis.pcall('GET', KEYS[1])
if not held then
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	return {1, tonumber(ARGV[2])}
end
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local granted = 0
if held == ARGV[1] then
	granted = 1
end
return {granted, redis.call('PTTL', KEYS[1])}
