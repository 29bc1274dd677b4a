-- refuse returns what a refusal says of a lock that holds something else: its time
-- to live, the rank of the waiter, who stands in the queue from then on, and the
-- owner. Without a ticket nobody waits, and waited is not looked at.
local function refuse(lock, held, queue, ticket, waited)
	local left = redis.call('PTTL', lock)
	local rank, owner = -1, ''
	if ticket ~= '' then
		rank = enqueue(queue, ticket, waited)
	end
	if type(held) == 'string' then
		owner = string.sub(held, -32)
	end
	return left, rank, owner
end

