-- inboxes returns the graces and the channels of tickets, in their order. The grace is false
-- if the waiter is not reachable here, or if the ticket is malformed. If the server does not
-- list subscribers, inboxes returns nothing and the reason. A ticket is <grace>:<channel>. The
-- grace is how long the lock is reserved when this waiter is notified: one to five digits, in
-- milliseconds; the ticket of a reader has 90000 more. The channel, of any bytes, is the waiter's
-- inbox. A grace of more than a second counts as a second. Clients ask for no more, and anyone who can write to the queue must not
-- block the lock for longer.
local function inboxes(tickets)
	local graces, channels = {}, {}
	for i, ticket in ipairs(tickets) do
		local grace, channel = string.match(ticket, '^([1-9]%d?%d?%d?%d?):(.*)$')
		grace = math.min(tonumber(grace or 0) % 90000, 1000)
		graces[i] = grace > 0 and grace
		channels[i] = channel or ''
	end
	-- The number that PUBLISH returns is not usable: it leaves out subscribers at other nodes
	-- of a Cluster, and counts subscribers of patterns.
	local heard = redis.pcall('PUBSUB', 'NUMSUB', unpack(channels))
	if heard.err then
		return nil, 'PUBSUB: ' .. heard.err
	end
	for i in ipairs(graces) do
		graces[i] = (tonumber(heard[2 * i]) or 0) > 0 and graces[i]
	end
	return graces, channels
end

