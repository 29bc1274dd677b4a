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

