-- What most releases are: of the token that the lock holds, with nobody in the queue
-- and nothing else to be done. This goes before the functions, since to make them takes
-- a server as long as half of what follows. Whatever is not so is for the rest of the
-- script, a queue that cannot be looked at too.
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] and held ~= '' and not ARGV[2] and not KEYS[3] and redis.pcall('EXISTS', KEYS[2]) == 0 then
	return redis.call('DEL', KEYS[1])
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

-- Release the lock and call the next waiter. One who gives up waiting sends this
-- too, without a token: he leaves the queue, and if the lock is reserved for him,
-- or free, the next one is called.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the tombstone of the token, to put up whether the lock held the token
--          or not; missing for none
-- ARGV[1]  the token, empty for none
-- ARGV[2]  the ticket of one who stands in the queue or was called, empty or
--          missing for none
-- ARGV[3]  a channel on which to publish 'ok' when the token is released, for
--          waiters of another library; empty or missing for none
-- ARGV[4]  for how long the tombstone stands, in milliseconds; with one only
-- Answers 1 if the lock held the token, 0 if it is missing or holds anything else. If the
-- next waiter could not be notified, the answer is followed by the command that failed and
-- its error: the user may lack the right to ZPOPMIN, SET or PUBLISH. If there may be more
-- tickets of the dead than the script removes at a time, the lock is free and the answer
-- is followed by '' and 1: send release without a token until that is no longer so.

-- held is what quick has found. A key of another type is somebody else's; any other
-- error is the caller's to see.
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local stands = whole(ARGV[4])
if KEYS[3] and (not stands or stands == 0) then
	return redis.error_reply('ERR the life of the tombstone is not an integer or out of range')
end
local ticket = ARGV[2] or ''
if ticket ~= '' then
	redis.pcall('ZREM', KEYS[2], ticket)
end
local mine, why, rest = 0, nil, nil
if held == ARGV[1] and held ~= '' then
	mine = 1
	why, rest = call(KEYS[1], KEYS[2])
	if ARGV[3] and ARGV[3] ~= '' then
		redis.pcall('PUBLISH', ARGV[3], 'ok')
	end
elseif not held or ticket ~= '' and held == '~' .. ticket then
	why, rest = call(KEYS[1], KEYS[2])
end
-- Last, since a server without memory lets a script write that has deleted.
if KEYS[3] then
	bury(KEYS[3], stands)
end
if why then
	return {mine, why, rest}
end
return mine
