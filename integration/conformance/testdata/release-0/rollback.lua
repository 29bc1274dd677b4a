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

-- call frees the lock for the next waiter: the first of the queue that listens is taken
-- out of it, the lock is reserved for it, and it is notified. The next two that listen, of
-- the eight behind it, are told to look once the reservation has ended, should it not
-- come. Tickets of the dead before it are removed, at most 515 at a time, so that they do
-- not hold up the server. Without a waiter, or with a queue that cannot be used, the lock
-- is deleted: nothing that is wrong with the queue may keep it.
-- It returns nothing; or, if the next waiter could not be notified, which command failed
-- and the error; or '' and 1 if it removed as many of the dead as it may, and there may be
-- more. A key that is no queue is not an error, because nobody waits there.
local function call(lock, queue)
	local why
	local rest = 1
	local size = 3 -- most often they are alive, and no more are needed
	for _ = 1, 5 do
		local tickets = redis.pcall('ZRANGE', queue, 0, size - 1)
		if not tickets[1] then
			why, rest = tickets.err and 'ZRANGE: ' .. tickets.err, nil
			break
		end
		local graces, channels = inboxes(tickets)
		if not graces then
			why = channels
			break
		end
		local first = 1
		while graces[first] == false do
			first = first + 1
		end
		local popped = redis.pcall('ZPOPMIN', queue, math.min(first, #tickets))
		if popped.err then
			why = 'ZPOPMIN: ' .. popped.err
			break
		end
		local grace, channel = graces[first], channels[first]
		if grace then
			local set = redis.pcall('SET', lock, '~' .. tickets[first], 'PX', grace)
			if first > 1 or graces[2] == false or graces[3] == false then
				first = 0
				graces, channels = inboxes({unpack(redis.pcall('ZRANGE', queue, 0, 7))})
			end
			local told = 0
			for i = first + 1, graces and #graces or 0 do
				if graces[i] and told < 2 then
					redis.pcall('PUBLISH', channels[i], 'n' .. grace .. ':' .. lock)
					told = told + 1
				end
			end
			-- The last, because of what one script publishes servers send the last first.
			local heard = redis.pcall('PUBLISH', channel, 'g' .. lock)
			if set.err then
				why = 'SET: ' .. set.err -- no right to SET, for example
			elseif type(heard) == 'table' then
				why = 'PUBLISH: ' .. heard.err -- nobody knows of the reservation
			end
			if why then
				redis.call('DEL', lock)
			end
			return why
		end
		if #tickets < size then
			rest = nil
			break
		end
		size = 128
	end
	redis.call('DEL', lock)
	if why and string.find(why, 'WRONGTYPE', 1, true) then
		return
	end
	return why or rest and '', not why and rest or nil
end

-- bury puts up the tombstone of a token for so many milliseconds: a vote for it
-- that arrives late, or twice, is refused as long as it stands. Whether that can
-- be done or not, the lock is released.
local function bury(tombstone, ms)
	redis.pcall('SET', tombstone, '1', 'PX', string.format('%.0f', ms))
end

-- Take back what an attempt was granted that has lost, and go on waiting.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the tombstone of the token, to put up whether the lock held the token
--          or not; missing for none
-- ARGV[1]  the token, empty for none
-- ARGV[2]  the waiter's ticket, empty or missing for none
-- ARGV[3]  for how long it has waited, in milliseconds; with a ticket only
-- ARGV[4]  '1' to call the next waiter, anything else to delete the lock only
-- ARGV[5]  for how long the tombstone stands, in milliseconds; with one only
-- Answers 1 if the lock held the token, 0 if it is missing or holds anything else, and
-- what release answers if the next waiter could not be notified, or was not reached.

local held = redis.pcall('GET', KEYS[1])
-- A key of another type is somebody else's; any other error is the caller's to see.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local ticket = ARGV[2] or ''
local waited, stands = whole(ARGV[3]), whole(ARGV[5])
if ticket ~= '' and not waited then
	return redis.error_reply('ERR the time waited is not an integer or out of range')
end
if KEYS[3] and (not stands or stands == 0) then
	return redis.error_reply('ERR the life of the tombstone is not an integer or out of range')
end
local mine, why, rest = 0, nil, nil
if held == ARGV[1] and held ~= '' then
	mine = 1
	if ARGV[4] == '1' then
		-- The waiter stands in the queue again only after the call, or it
		-- would call itself.
		if ticket ~= '' then
			redis.pcall('ZREM', KEYS[2], ticket)
		end
		why, rest = call(KEYS[1], KEYS[2])
	else
		redis.call('DEL', KEYS[1])
	end
end
if ticket ~= '' then
	enqueue(KEYS[2], ticket, waited)
end
if KEYS[3] then
	bury(KEYS[3], stands)
end
if why then
	return {mine, why, rest}
end
return mine
