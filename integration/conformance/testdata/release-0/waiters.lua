-- Look at who waits for a lock.
--
-- KEYS[1]  the lock's queue
-- ARGV[1]  how many tickets to answer at most
-- ARGV[2]  '1' to answer besides for how long each has waited; may be missing
-- Answers {how many stand there, the first ticket, the second, …}, {0} if the
-- key is missing or no queue. Some may be of waiters that are gone. With ARGV[2] each
-- ticket is followed by the time, in milliseconds; -1 if its score is not of a time that
-- was, by the server's clock.

if not string.find(ARGV[1], '^%d+$') or #ARGV[1] > 15 then
	return redis.error_reply('ERR value is not an integer or out of range')
end
local count = redis.pcall('ZCARD', KEYS[1])
if type(count) == 'table' then
	if not string.find(count.err, 'WRONGTYPE', 1, true) then
		return count
	end
	return {0}
end
local reply = {count}
local most = tonumber(ARGV[1])
if count == 0 or most == 0 then
	return reply
end
if ARGV[2] ~= '1' then
	for i, ticket in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do
		reply[i + 1] = ticket
	end
	return reply
end
local now = redis.pcall('TIME')
for i, text in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1, 'WITHSCORES')) do
	if i % 2 == 1 then
		reply[i + 1] = text
	else
		local waited = now.err and -1 or math.floor(now[1] * 1000 + now[2] / 1000 - tonumber(text))
		if not (waited >= 0 and waited < 1e15) then
			waited = -1
		end
		reply[i + 1] = waited
	end
end
return reply
