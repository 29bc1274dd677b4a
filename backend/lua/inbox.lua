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

