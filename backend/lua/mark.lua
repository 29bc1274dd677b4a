-- Mark a server as one that has lost nothing since: a vote may ask for the marker.
--
-- KEYS[1]  the marker
-- ARGV[1]  what it is to hold
-- ARGV[2]  what it may hold now, to be replaced; empty if it is to be missing
-- Answers {1, what it holds} if it holds what it is to hold, as of now or from
-- before, else {0, what it holds}, empty if it is missing or no string. It does
-- not expire.

if ARGV[1] == '' then
	return redis.error_reply('ERR a marker must not be empty')
end
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] then
	return {1, held}
end
if type(held) == 'table' then
	if not string.find(held.err, 'WRONGTYPE', 1, true) then
		return held
	end
	return {0, ''}
end
if (held or '') ~= ARGV[2] then
	return {0, held or ''}
end
redis.call('SET', KEYS[1], ARGV[1])
return {1, ARGV[1]}
