-- enqueue puts a ticket into the queue, by the time at which its waiter first
-- asked, unless it stands there or nobody would hear it called. The time is the
-- server's, in milliseconds with a fraction, less the milliseconds that the
-- waiter has waited, so that no other clock counts. It returns the ticket's rank,
-- 0 for the next one, or -1 if it does not stand in the queue.
local function enqueue(queue, ticket, waited)
	if not queue or not inbox(ticket) then
		return -1
	end
	local now = redis.pcall('TIME')
	if now.err then
		return -1
	end
	local added = redis.pcall('ZADD', queue, 'NX', now[1] * 1000 + now[2] / 1000 - waited, ticket)
	if type(added) == 'table' then
		return -1
	end
	-- A waiter asks again within a minute, and keeps the queue by that. A
	-- queue for which nobody has asked for ten is of the dead alone.
	local kept = redis.pcall('PEXPIRE', queue, 600000)
	local rank = redis.pcall('ZRANK', queue, ticket)
	if kept ~= 1 or type(rank) ~= 'number' then
		redis.pcall('ZREM', queue, ticket) -- what may stay for ever must not stay
		return -1
	end
	return rank
end

