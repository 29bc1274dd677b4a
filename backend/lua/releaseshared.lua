-- End the share of a token. The last reader of a lock notifies the next waiter, as release.lua
-- does. A reader that gives up waiting sends this too, without a token. If others read
-- meanwhile, the readers behind its ticket no longer have to wait for it: it may be the ticket
-- with which a holder that has become a reader waited for the lock.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the set of its readers
-- ARGV[1]  the token, or ''
-- ARGV[2]  the ticket of a waiter that is queued or was notified; or '', or omitted
-- ARGV[3]  a channel on which 'ok' is published when the last reader leaves, for waiters of
--          another library; or '', or omitted
-- Answers as release.lua does: 1 if the token was reading, or had the lock for itself because
-- no extendshared.lua has arrived, otherwise 0.

-- The common case: nobody else reads, nobody is in the queue, and there is nothing else to do. It
-- comes before the functions, because defining them takes a server about as long as the rest. All
-- other cases are left to the rest of the script. The lock expires with its last share, so the
-- only share has not ended while the lock is there.
local held = redis.pcall('GET', KEYS[1])
if held == '~shared' and not ARGV[2] then
	local tokens = redis.pcall('ZRANGE', KEYS[3], 0, 1)
	if tokens[1] and tokens[1] == ARGV[1] and not tokens[2] and redis.pcall('EXISTS', KEYS[2]) == 0
		and redis.pcall('DEL', KEYS[1], KEYS[3]) == 2 then
		return 1
	end
end

--@include invite, notify, now, unshare

-- A key of another type belongs to another program. The caller must see any other error.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local ticket = ARGV[2] or ''
if ticket ~= '' then
	redis.pcall('ZREM', KEYS[2], ticket)
end
local mine, last, why, rest = 0, false, nil, nil
if held == '~shared' then
	mine, last = unshare(KEYS[1], KEYS[3], ARGV[1], now())
elseif held == ARGV[1] and held ~= '' then
	mine, last = 1, true
end
if last or not held or ticket ~= '' and held == '~' .. ticket then
	why, rest = notify(KEYS[1], KEYS[2])
elseif ticket ~= '' and held == '~shared' then
	invite(KEYS[1], KEYS[2], '')
end
if last and ARGV[3] and ARGV[3] ~= '' then
	redis.pcall('PUBLISH', ARGV[3], 'ok')
end
if why then
	return {mine, why, rest}
end
return mine
