--@include inbox

-- enqueue adds a ticket to the queue, unless it is queued already or its waiter is not
-- reachable here. The score is the time at which the waiter began to wait: the server's time,
-- in milliseconds with a fraction, less the milliseconds that it has waited. So no other clock
-- counts. It returns the ticket's rank, 0 for the first, or -1 if it is not queued. If a
-- command failed, the command and its error follow.
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
	-- A waiter asks again within a minute, which keeps the queue alive. If nobody has asked for
	-- ten minutes, all waiters in the queue are dead.
	local kept = redis.pcall('PEXPIRE', queue, 600000)
	local rank = redis.pcall('ZRANK', queue, ticket)
	if kept == 1 and type(rank) == 'number' then
		return rank
	end
	redis.pcall('ZREM', queue, ticket) -- a queue that may never expire must not stay
	if type(kept) == 'table' then
		return -1, 'PEXPIRE: ' .. kept.err
	end
	if type(rank) == 'table' then
		return -1, 'ZRANK: ' .. rank.err
	end
	return -1
end

