-- inbox returns the grace and the channel of a ticket whose waiter listens here,
-- nothing if nobody does or the ticket is not one. A ticket is <grace>:<channel>:
-- for how long the lock is to be reserved when this waiter is called, one to five
-- digits, in milliseconds, and the channel, of any bytes, on which it hears that.
-- A grace of more than a second counts as a second. Clients ask for no more, and
-- whoever can write to the queue must not keep the lock from everybody for longer.
local function inbox(ticket)
	local grace, channel = string.match(ticket, '^([1-9]%d?%d?%d?%d?):(.*)$')
	if grace then
		-- What PUBLISH counts is no test: it leaves out who listens at another
		-- node of a cluster, and counts whoever listens to a pattern.
		local heard = redis.pcall('PUBSUB', 'NUMSUB', channel)
		if (tonumber(heard[2]) or 0) > 0 then
			return math.min(tonumber(grace), 1000), channel
		end
	end
end

