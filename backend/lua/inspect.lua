-- Look at a lock and its queue at one moment.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue; may be omitted
-- ARGV[1]  how many tickets to answer at most; needed with a queue
-- Answers {1, value, time to live} if the lock exists. The value is empty if it is not a
-- string. The time is in milliseconds, or -1 if the key does not expire. Otherwise answers
-- {0, '', 0}. If a queue is given, the number of tickets in it follows, and then each of the
-- first tickets with the time, in milliseconds, for which its waiter has waited. The number is
-- 0 if the key is missing or not a queue, and -1 if the user may not look. A time is -1 if the
-- score is not a time in the past by the server's clock.

local function waited(now, score)
	local ms = now.err and -1 or math.floor(now[1] * 1000 + now[2] / 1000 - tonumber(score))
	if not (ms >= 0 and ms < 1e15) then
		return -1
	end
	return ms
end

local most
if KEYS[2] then
	if not string.find(ARGV[1], '^%d+$') or #ARGV[1] > 15 then
		return redis.error_reply('ERR value is not an integer or out of range')
	end
	most = tonumber(ARGV[1])
end
local reply = {0, '', 0}
local left = redis.call('PTTL', KEYS[1])
if left ~= -2 then
	local held = redis.pcall('GET', KEYS[1])
	if type(held) == 'table' then
		if not string.find(held.err, 'WRONGTYPE', 1, true) then
			return held
		end
		held = ''
	end
	reply = {1, held or '', left}
end
if not KEYS[2] then
	return reply
end
local count = redis.pcall('ZCARD', KEYS[2])
if type(count) == 'table' then
	count = string.find(count.err, 'WRONGTYPE', 1, true) and 0 or -1
end
reply[4] = count
if count <= 0 or most == 0 then
	return reply
end
local tickets = redis.pcall('ZRANGE', KEYS[2], 0, most - 1, 'WITHSCORES')
if tickets.err then
	return reply
end
local now = redis.pcall('TIME')
for i = 1, #tickets, 2 do
	reply[#reply + 1] = tickets[i]
	reply[#reply + 1] = waited(now, tickets[i + 1])
end
return reply
