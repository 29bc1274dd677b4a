-- Raise a vote: move the counter up to a value, if the lock holds the token.
--
-- KEYS[1]  the lock
-- KEYS[2]  its counter
-- ARGV[1]  the token
-- ARGV[2]  the value
-- ARGV[3]  for how long the counter is kept, in milliseconds, 0 for ever
-- Answers 1 if the lock holds the token and the counter was below the value, or is
-- there already: the token's vote is for the value then. Answers 0 if the lock is
-- missing or holds anything else, or the counter is above the value.
-- Fails with FENCE if the lock holds the token and the counter is none, or the
-- value too far ahead. Nothing was done then.

local value, keep = number(ARGV[2]), whole(ARGV[3])
if not value or value == 0 or not keep then
	return redis.error_reply('ERR a number of the raise is not an integer or out of range')
end
local held = redis.pcall('GET', KEYS[1])
if held ~= ARGV[1] then
	if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
		return held
	end
	return 0
end
local err = beyond(KEYS[2], value, clock())
if err then
	return err
end
local c
c, err = count(KEYS[2])
if err then
	return err
end
if c > value then
	return 0
end
if c < value then
	put(KEYS[2], value, keep)
end
return 1
