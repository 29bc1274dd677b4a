-- Delete the key if it holds the token.
--
-- KEYS[1]  the lock
-- ARGV[1]  the token
-- Answers 1 if the key was deleted, 0 if it is missing or holds anything else.
--
-- A key that is missing is deleted too, so that a user without the right to DEL gets that error
-- before it has a lock.

local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] or not held then
	return redis.call('DEL', KEYS[1])
end
-- A key of another type belongs to another program. The caller must see any other error.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
return 0
