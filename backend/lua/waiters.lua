-- Look at who waits for a lock.
--
-- KEYS[1]  the lock's queue
-- ARGV[1]  how many tickets to answer at most
-- Answers {how many stand there, the first ticket, the second, …}, {0} if the
-- key is missing or no queue. Some may be of waiters that are gone.

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
if count > 0 and most > 0 then
	for i, ticket in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do
		reply[i + 1] = ticket
	end
end
return reply
