-- Raise a vote: move the counter up to a value, if the lock holds the token.
--
-- KEYS[1]  the lock
-- KEYS[2]  its counter
-- KEYS[3]  the server's marker, if there is a quarantine
-- ARGV[1]  the token
-- ARGV[2]  the value
-- ARGV[3]  how long the counter is kept, in milliseconds; 0 for no expiry
-- ARGV[4]  how long the quarantine is, in milliseconds: the server grants nothing for this
--          time if it may have lost data; needed with a marker
-- Answers 1 if the lock holds the token and the counter was at most the value. Then the
-- token's vote is for the value. Answers 0 if the lock is missing or holds anything else, or
-- if the counter is above the value.
-- Fails with FENCE if the lock holds the token, and the counter is not a number or the value
-- is too far ahead. Fails with QUARANTINE if the server must not grant yet. Then nothing but
-- the marker has changed.

--@include clock, fence, number, quarantine, whole

local value, keep = number(ARGV[2]), whole(ARGV[3])
if not value or value == 0 or not keep then
	return redis.error_reply('ERR a number of the raise is not an integer or out of range')
end
local err = KEYS[3] and suspect(KEYS[3], ARGV[4])
if err then
	return err
end
local held = redis.pcall('GET', KEYS[1])
if held ~= ARGV[1] then
	if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
		return held
	end
	return 0
end
err = beyond(KEYS[2], value, clock())
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
