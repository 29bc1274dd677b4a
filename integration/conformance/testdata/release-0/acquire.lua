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

-- Take the lock, or find that this very token has it already: SET NX that may
-- be sent again when its reply was lost. A waiter that is refused stands in the
-- queue from then on; one for which the lock is reserved gets it.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue; missing, or any key, for one who does not wait
-- KEYS[3]  the server's marker; missing for no quarantine
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the waiter's ticket, empty or missing for one who does not wait
-- ARGV[4]  for how long it has waited, in milliseconds; with a ticket only
-- ARGV[5]  for how long the server does not vote when it may have lost anything, in
--          milliseconds; with a marker only
-- Answers {1, time to live} if the token has the lock, else {0, time to live,
-- rank, owner}. The time is in milliseconds, -1 if the key does not expire. Rank
-- is how many stand before this waiter, -1 if it does not stand in the queue: no
-- ticket, an inbox that is not heard here, a queue that cannot be used. Owner is
-- the last 32 bytes of what the lock holds, empty if that is no string. If the ticket
-- was not queued because a command failed, that command and its error follow.
-- Fails with QUARANTINE if the server must not vote yet. Nothing was done then, but
-- for the marker.

local err = KEYS[3] and suspect(KEYS[3], ARGV[5])
if err then
	return err
end
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] then
	return {1, redis.call('PTTL', KEYS[1])}
end
local ticket = ARGV[3] or ''
if not held or ticket ~= '' and held == '~' .. ticket then
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
	if ticket ~= '' and KEYS[2] then
		redis.pcall('ZREM', KEYS[2], ticket)
	end
	return {1, tonumber(ARGV[2])}
end
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local waited = whole(ARGV[4])
if ticket ~= '' and not waited then
	return redis.error_reply('ERR the time waited is not an integer or out of range')
end
return {0, refuse(KEYS[1], held, KEYS[2], ticket, waited)}
