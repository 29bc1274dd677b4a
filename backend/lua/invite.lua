--@include inbox, shared

-- invite notifies the readers at the head of the queue of a shared lock, up to the first
-- reachable waiter that wants the lock for itself. They leave the queue, and nothing is
-- reserved for them, because they only have to join. Tickets of dead waiters before that
-- waiter are removed. The ticket of the caller, if it has one, leaves the queue with them and
-- is not notified. It returns whether the caller may join: its ticket was among them, or the
-- queue is empty. Of a long queue it takes 256 tickets at most, and each reader that joins
-- takes more. A key that is not a queue is like an empty one, because nobody waits there.
-- Readers that the user may not notify stay in the queue, with all behind them.
local function invite(lock, queue, own)
	local joins = false
	for _ = 1, 4 do
		local tickets = redis.pcall('ZRANGE', queue, 0, 63)
		if not tickets[1] then
			return joins or not tickets.err or string.find(tickets.err, 'WRONGTYPE', 1, true) ~= nil
		end
		local graces, channels = inboxes(tickets)
		local count = 0
		while graces and tickets[count + 1] and not (graces[count + 1] and not shared(tickets[count + 1])) do
			count = count + 1
		end
		local leave = count
		for i = 1, count do
			if tickets[i] == own then
				joins = true
			elseif graces[i] and i <= leave and type(redis.pcall('PUBLISH', channels[i], 'g' .. lock)) == 'table' then
				leave = i - 1
			end
		end
		if leave == 0 or redis.pcall('ZPOPMIN', queue, leave).err or leave < #tickets then
			return joins
		end
	end
	return joins
end

