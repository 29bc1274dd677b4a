-- Take the lock and vote for a fencing token. This does what acquire.lua does, and moves the
-- counter up. The counter moves to the hint, or by one if it is at the hint already, so that
-- nodes whose counters differ vote for the same number. It stays within 250 ms of the server's
-- time whatever the hint is, so that the clock replaces a counter that was lost. If this is
-- sent again, it answers with the same vote.
--
-- KEYS[1]  the lock
-- KEYS[2]  its counter
-- KEYS[3]  the tombstone of the token
-- KEYS[4]  its queue. A caller that does not wait may omit it, or send any key
-- KEYS[5]  the server's marker, if there is a quarantine
-- ARGV[1]  the token; no other script may have set it
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the hint, in microseconds since 1970
-- ARGV[4]  how long the counter is kept, in milliseconds; 0 for no expiry
-- ARGV[5]  the waiter's ticket. A caller that does not wait omits it, or sends ''
-- ARGV[6]  how long it has waited, in milliseconds; needed with a ticket and a queue
-- ARGV[7]  how long the quarantine is, in milliseconds: the server grants nothing for this
--          time if it may have lost data; needed with a marker
-- Answers the time alone if the token has the lock and the vote is for the hint, and {1,
-- vote, time} if it is for another value. Otherwise {0, counter, time}, and what acquire.lua
-- answers after its 0. With a tombstone it answers {0, counter, time, -2, -1, ''}, because
-- this token gets nothing, whoever holds the lock. The vote, or the counter, is the counter's
-- present value. The time is the server's, in microseconds since 1970; the time alone may be
-- the middle of its millisecond.
-- Fails with FENCE if the counter is not a number or too far ahead, and with QUARANTINE if
-- the server must not grant yet. Then nothing but the marker has changed.

-- The common case: the lock is free, the caller does not wait, there is no tombstone, and
-- the counter is behind a hint that the clock allows. It comes before the functions,
-- because defining them takes a server half as long as the rest. All other cases are left
-- to the rest of the script. So is a server that does not let its user do this, or that
-- cannot write now, because it can still report a refusal.
--
-- Without a queue there is no marker either. A ticket without a queue makes no difference
-- while the lock is free.
--
-- The expiry time of the lock tells the time with less work than TIME. TIME is for servers
-- before Redis 7 and for users without the right to PEXPIRETIME. The expiry time is exact to
-- the millisecond, so a hint at the very edge of what the clock allows is left to the rest,
-- and the answer is the middle of that millisecond.
--
-- Clocks have had sixteen digits since 2001. Texts of sixteen digits compare like their
-- numbers, in every locale. They must be digits, because a number can be written in other
-- ways, and the hint is written to the counter as it came. (It has no leading zero, because
-- it is above a counter that has none.) The rest may still accept a number that SET rejects.
-- A tombstone is a string, so MGET finds it.
if not KEYS[4] or not KEYS[5] and (ARGV[5] or '') == '' then
	local seen, ttl, hint, keep = redis.pcall('MGET', KEYS[2], KEYS[3]), ARGV[2], ARGV[3], ARGV[4]
	local c = seen[1]
	if c and not seen[2] and #c == 16 and #hint == 16 and #ttl <= 15 and #keep <= 15 and keep ~= '0'
		and string.find(c, '^[1-9]%d+$') and string.find(hint, '^%d+$') and c < hint then
		local taken = redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ttl)
		if taken and not taken.err then
			local ends, now = redis.pcall('PEXPIRETIME', KEYS[1])
			if type(ends) == 'number' then
				now = (ends - ttl) * 1000
			else
				local t = redis.pcall('TIME')
				now = not t.err and math.floor(t[1] * 1000 + t[2] / 1000) * 1000 or 0
			end
			local ahead = hint - now
			if ahead >= -249000 and ahead <= 250000 and now < 9007199254000000 then
				local moved = redis.pcall('SET', KEYS[2], hint, 'PX', keep)
				if not moved.err then
					return now + 500
				end
			end
			-- There must be no lock without its vote. Otherwise the rest would read the counter,
			-- which is another token's vote, as this one's. A user without the right to delete
			-- gets that error.
			redis.call('DEL', KEYS[1])
		end
	end
end

--@include clock, fence, number, quarantine, refuse, whole

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
if mine then -- its vote was lost
	put(KEYS[2], vote, keep)
	return granted(vote)
end
if not held or ticket ~= '' and held == '~' .. ticket then
	-- The counter comes first, because a script that fails keeps what it has written.
	put(KEYS[2], vote, keep)
	redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', ttl))
	if ticket ~= '' and KEYS[4] then
		redis.pcall('ZREM', KEYS[4], ticket)
	end
	return granted(vote)
end
local left, rank, owner, why = refuse(KEYS[1], held, KEYS[4], ticket, waited)
return {0, c, now, left, rank, owner, why}
