-- Take the lock and vote for a fencing token: acquire, and the counter moves up.
-- It moves by one, or to the hint if that is higher, so that nodes whose counters
-- have parted vote for the same number; but no further from the server's time
-- than 250 ms, whatever the hint, so that a counter which was lost is made good by
-- the clock. Sent again, it answers the vote that was cast.
--
-- KEYS[1]  the lock
-- KEYS[2]  its counter
-- KEYS[3]  the tombstone of the token
-- KEYS[4]  its queue; missing, or any key, for one who does not wait
-- KEYS[5]  the server's marker; missing for no quarantine
-- ARGV[1]  the token; no other script may have set it
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the hint, in microseconds since 1970
-- ARGV[4]  for how long the counter is kept, in milliseconds, 0 for ever
-- ARGV[5]  the waiter's ticket, empty or missing for one who does not wait
-- ARGV[6]  for how long it has waited, in milliseconds; with a ticket and a queue only
-- ARGV[7]  for how long the server does not vote when it may have lost anything, in
--          milliseconds; with a marker only
-- Answers {1, vote, time} if the token has the lock, and the time alone if the vote is
-- for the hint; else {0, counter, time} and what acquire answers after its 0; or, if
-- there is a tombstone, {0, counter, time, -2, -1, ''}, because this token will get
-- nothing, whoever holds the lock. The vote, or the counter, is where that stands now. The
-- time is the server's, in microseconds since 1970; the time alone may be the
-- middle of its millisecond.
-- Fails with FENCE if the counter is none, or too far ahead, and with QUARANTINE if
-- the server must not vote yet. Nothing was done then, but for the marker.

local ttl, hint, keep, ticket, waited = whole(ARGV[2]), number(ARGV[3]), whole(ARGV[4]), ARGV[5] or '', whole(ARGV[6])
if not ttl or ttl == 0 or not hint or not keep or ticket ~= '' and KEYS[4] and not waited then
	return redis.error_reply('ERR a number of the vote is not an integer or out of range')
end
local err = KEYS[5] and suspect(KEYS[5], ARGV[7])
if err then
	return err
end
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local dead = redis.call('EXISTS', KEYS[3]) == 1
local now = clock()
local c
c, err = count(KEYS[2])
if err then
	return err
end

local function granted(vote)
	if vote == hint then
		return now
	end
	return {1, vote, now}
end

local mine = held == ARGV[1] and not dead
if mine and c > 0 and c <= most then
	-- While the token has the lock, nobody else moves the counter.
	return granted(c)
end
local vote = math.max(c + 1, math.min(math.max(hint, now - 250000), now + 250000))
err = beyond(KEYS[2], vote, now)
if err then
	return err
end
if dead then
	return {0, c, now, -2, -1, ''}
end
if mine then -- and its vote was lost
	put(KEYS[2], vote, keep)
	return granted(vote)
end
if not held or ticket ~= '' and held == '~' .. ticket then
	-- The counter first: a script that fails keeps what it has written.
	put(KEYS[2], vote, keep)
	redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', ttl))
	if ticket ~= '' and KEYS[4] then
		redis.pcall('ZREM', KEYS[4], ticket)
	end
	return granted(vote)
end
local left, rank, owner, why = refuse(KEYS[1], held, KEYS[4], ticket, waited)
return {0, c, now, left, rank, owner, why}
