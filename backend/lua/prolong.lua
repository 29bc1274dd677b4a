-- Extend a lock with a fencing token, and the life of its counter, if the lock holds the
-- token. A counter that was lost, or is below the value, is set to the value.
--
-- KEYS[1]  the lock
-- KEYS[2]  its counter
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the value: the fencing token
-- ARGV[4]  how long the counter is kept, in milliseconds; 0 for no expiry
-- Answers 1 if the lock holds the token, 0 if it is missing or holds anything else.
-- A counter that is not a number stays as it is. Nobody can vote on this node until somebody
-- repairs it, so nothing is lost. Fails with FENCE if the counter would have to move too far
-- ahead. Then nothing has changed.

--@include clock, fence, lengthen, number, whole

local ttl, value, keep = whole(ARGV[2]), number(ARGV[3]), whole(ARGV[4])
if not ttl or ttl == 0 or not value or value == 0 or not keep then
	return redis.error_reply('ERR a number of the extension is not an integer or out of range')
end
local held = redis.pcall('GET', KEYS[1])
if held ~= ARGV[1] then
	if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
		return held
	end
	return 0
end
-- The counter comes first, because a script that fails keeps what it has written.
local c = count(KEYS[2])
local err = c and c < value and beyond(KEYS[2], value, clock())
if err then
	return err
end
-- A server without memory refuses SET, but not in a script that has written already. So this
-- comes before it.
if c and keep > 0 then
	redis.call('PEXPIRE', KEYS[2], string.format('%.0f', keep))
elseif c then
	redis.call('PERSIST', KEYS[2])
end
if c and c < value then
	put(KEYS[2], value, keep)
end
lengthen(KEYS[1], string.format('%.0f', ttl))
return 1
