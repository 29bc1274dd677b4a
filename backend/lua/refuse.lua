--@include enqueue

-- refuse returns what a refusal says about a lock that holds something else: its time to live,
-- the rank of the waiter, the owner, and, if the waiter could not be queued because a command
-- failed, that command and its error. It queues the waiter. Without a ticket the caller does
-- not wait, and waited is not used.
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

