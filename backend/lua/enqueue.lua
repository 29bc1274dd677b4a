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

