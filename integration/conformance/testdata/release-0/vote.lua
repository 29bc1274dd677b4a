-- What most votes are: for a lock that is free, of one who does not wait and has no
-- tombstone, with a counter that is behind a hint which the clock allows. This goes
-- before the functions, since to make them takes a server half as long as what follows.
-- Whatever is not so is for the rest of the script, and so is a server that does not let
-- its user do this, or does not write now: it may have a refusal to tell.
--
-- Where there is no queue there is no marker either, and a ticket without a queue makes
-- no difference while the lock is free.
--
-- When the lock ends says what time it is, with less work than TIME, which is for servers
-- before Redis 7 and users who may not ask for that. It does to the millisecond: of a hint
-- at the very end of what the clock allows the rest has to judge, and the answer is the
-- middle of that millisecond.
--
-- Clocks have had sixteen digits since 2001, and texts of as many digits compare as
-- their numbers do, in every locale. They must be digits: a number may be written in
-- other ways, and what is written to the counter is the hint as it came. (The hint
-- begins with no nought either: it is above a counter that does not.) What SET does not take for
-- a number may still be one to the rest. A tombstone is a string, as MGET finds it.
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
			-- There must be no lock without its vote: the rest would take the counter for
			-- that, and it is another's. Who may not delete is told, and goes no further.
			redis.call('DEL', KEYS[1])
		end
	end
end
-- inboxes returns the graces and the channels of tickets, in their order. The grace is
-- false if the waiter does not listen here, or if the ticket is not one. If the server does
-- not say who listens, inboxes returns nothing and why. A ticket is <grace>:<channel>:
-- the grace is for how long the lock is reserved when this waiter is notified, one to five
-- digits, in milliseconds; the channel, of any bytes, is where the waiter hears that.
-- A grace of more than a second counts as a second. Clients ask for no more, and
-- whoever can write to the queue must not keep the lock from everybody for longer.
local function inboxes(tickets)
	local graces, channels = {}, {}
	for i, ticket in ipairs(tickets) do
		local grace, channel = string.match(ticket, '^([1-9]%d?%d?%d?%d?):(.*)$')
		graces[i] = grace and math.min(tonumber(grace), 1000) or false
		channels[i] = channel or ''
	end
	-- What PUBLISH counts is no test: it leaves out who listens at another
	-- node of a cluster, and counts whoever listens to a pattern.
	local heard = redis.pcall('PUBSUB', 'NUMSUB', unpack(channels))
	if heard.err then
		return nil, 'PUBSUB: ' .. heard.err
	end
	for i in ipairs(graces) do
		graces[i] = (tonumber(heard[2 * i]) or 0) > 0 and graces[i]
	end
	return graces, channels
end

-- whole returns the number that an argument says, if it is a whole one that Lua
-- counts exactly, else nothing.
local function whole(arg)
	if arg and #arg <= 15 and string.find(arg, '^%d+$') then
		return tonumber(arg)
	end
end

-- enqueue puts a ticket into the queue, by the time at which its waiter first
-- asked, unless it is queued already or its waiter does not listen here. The time is the
-- server's, in milliseconds with a fraction, less the milliseconds that the
-- waiter has waited, so that no other clock counts. It returns the ticket's rank,
-- 0 for the next one, or -1 if it is not queued. If a command failed, the error follows.
local function enqueue(queue, ticket, waited)
	if not queue then
		return -1
	end
	local graces, why = inboxes({ticket})
	if not graces then
		return -1, why
	end
	if not graces[1] then
		return -1
	end
	local now = redis.pcall('TIME')
	if now.err then
		return -1, 'TIME: ' .. now.err
	end
	local added = redis.pcall('ZADD', queue, 'NX', now[1] * 1000 + now[2] / 1000 - waited, ticket)
	if type(added) == 'table' then
		return -1, 'ZADD: ' .. added.err
	end
	-- A waiter asks again within a minute, and keeps the queue by that. A
	-- queue for which nobody has asked for ten is of the dead alone.
	local kept = redis.pcall('PEXPIRE', queue, 600000)
	local rank = redis.pcall('ZRANK', queue, ticket)
	if kept == 1 and type(rank) == 'number' then
		return rank
	end
	redis.pcall('ZREM', queue, ticket) -- what may stay for ever must not stay
	if type(kept) == 'table' then
		return -1, 'PEXPIRE: ' .. kept.err
	end
	if type(rank) == 'table' then
		return -1, 'ZRANK: ' .. rank.err
	end
	return -1
end

-- refuse returns what a refusal says of a lock that holds something else: its time
-- to live, the rank of the waiter, who is queued from then on, the owner, and, if the
-- waiter could not be queued because a command failed, the error. Without a ticket nobody
-- waits, and waited is not looked at.
local function refuse(lock, held, queue, ticket, waited)
	local left = redis.call('PTTL', lock)
	local rank, owner, why = -1, '', nil
	if ticket ~= '' then
		rank, why = enqueue(queue, ticket, waited)
	end
	if type(held) == 'string' then
		owner = string.sub(held, -32)
	end
	return left, rank, owner, why
end

-- clock returns the server's time, in microseconds since 1970.
local function clock()
	local t = redis.call('TIME')
	return t[1] * 1000000 + t[2]
end

-- number returns the number that a text of at most 16 digits says, nothing for
-- any other text.
local function number(text)
	if text and #text <= 16 and string.find(text, '^%d+$') then
		return tonumber(text)
	end
end

-- Counters are in microseconds of the server's clock. 2^53 - 1, as far as Lua's
-- numbers are exact, is in the year 2255. A counter that is more than a day ahead
-- is not the work of a clock that is a little off: to follow it would take the
-- other nodes along.
local most, day = 9007199254740991, 86400000000

-- count returns what a counter stands at, 0 if it is missing, or nothing and the
-- error.
local function count(counter)
	local text = redis.pcall('GET', counter)
	if not text then
		return 0
	end
	if type(text) == 'table' and not string.find(text.err, 'WRONGTYPE', 1, true) then
		return nil, text
	end
	local c = type(text) == 'string' and number(text)
	if c then
		return c
	end
	return nil, redis.error_reply(string.format('FENCE the counter %q holds no number of at most 16 digits: '
		.. 'delete it while nobody holds the lock', counter))
end

-- beyond returns an error if a counter is not to stand at c at this time, else
-- nothing.
local function beyond(counter, c, now)
	if c > most or c > now + day then
		return redis.error_reply(string.format('FENCE the counter %q would be %.0f, more than a day ahead of this server: '
			.. 'set its clock right, or delete the counter while nobody holds the lock', counter, c))
	end
end

-- put has a counter stand at c, for so many milliseconds, or for ever if that is 0.
-- Lua's own way from numbers to text is not exact.
local function put(counter, c, keep)
	if keep > 0 then
		redis.call('SET', counter, string.format('%.0f', c), 'PX', string.format('%.0f', keep))
	else
		redis.call('SET', counter, string.format('%.0f', c))
	end
end

-- run returns the server's run_id, which is another after each start, and another
-- on a replica than on its master, or nothing and the error.
local function run()
	local info = redis.pcall('INFO', 'server')
	local id = type(info) == 'string' and string.match(info, 'run_id:(%S+)')
	if id then
		return id
	end
	return nil, redis.error_reply('NORUNID this server does not tell its run_id, without which there is no quarantine: '
		.. (info.err or 'INFO server has none'))
end

-- marked returns what a marker holds, empty if it is missing, or nothing and the
-- error.
local function marked(marker)
	local held = redis.pcall('GET', marker)
	if type(held) ~= 'table' then
		return held or ''
	end
	if string.find(held.err, 'WRONGTYPE', 1, true) then
		return nil, redis.error_reply(string.format('WRONGTYPE the marker %q is in use for something else, '
			.. 'and is not overwritten', marker))
	end
	return nil, held
end

-- suspect returns an error if this server must not vote, because it may have lost
-- what it had granted, else nothing.
--
-- The marker holds "<run_id> <since>". It is missing after everything was deleted,
-- and of another run after a start, with whatever data, and where a replica has
-- taken its master's place. Since is when that was first seen, in microseconds of
-- this server's clock; from then on it does not vote for so many milliseconds. It
-- is 0 if the server was said to be well. The one who asks changes nothing about
-- since: each may have a length of his own.
local function suspect(marker, ms)
	local length = whole(ms)
	if not length or length == 0 then
		return redis.error_reply('ERR the length of the quarantine is not an integer or out of range')
	end
	local id, err = run()
	if not id then
		return err
	end
	local held
	held, err = marked(marker)
	if not held then
		return err
	end
	local now = clock()
	local of, since = string.match(held, '^(%S+) (%d+)$')
	since = number(since)
	-- One in the future was written before the clock was set back: how long ago
	-- that is, nobody can tell.
	if of ~= id or not since or since > now then
		since = now
		redis.call('SET', marker, string.format('%s %.0f', id, now))
	end
	local left = since + length * 1000 - now
	if since > 0 and left > 0 then
		return redis.error_reply(string.format('QUARANTINE for another %.0f ms: this server has restarted, or has lost '
			.. 'its marker %q, and may have lost locks with it; init ends that', math.ceil(left / 1000), marker))
	end
end

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
