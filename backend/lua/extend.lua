-- Let the key live for at least this time from now on, if it holds the token.
--
-- KEYS[1]  the lock
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- Answers 1 if the key holds the token, 0 if it is missing or holds anything else.

--@include lengthen

local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] then
	lengthen(KEYS[1], ARGV[2])
	return 1
end
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
return 0
