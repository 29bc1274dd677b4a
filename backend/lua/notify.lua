--@include inbox

-- notify frees the lock for the next waiter. It takes the first reachable ticket out of the
-- queue, reserves the lock for it, and notifies its waiter. The next two reachable waiters, of
-- the eight behind it, are told to look when the reservation has ended, in case the first one
-- does not take the lock. Tickets of dead waiters before it are removed, at most 515 of them,
-- so that they do not hold up the server. If there is no waiter, or the queue cannot be used,
-- the lock is deleted, because a damaged queue must not keep the lock.
-- It returns nothing; or, if the next waiter could not be notified, the command that failed
-- and its error; or '' and 1 if it removed as many tickets as it may and there may be more. A
-- key that is not a queue is no error, because nobody waits there.
local function notify(lock, queue)
	local why
	local rest = 1
	local size = 3 -- usually they are alive, and no more are needed
	for _ = 1, 5 do
		local tickets = redis.pcall('ZRANGE', queue, 0, size - 1)
		if not tickets[1] then
			why, rest = tickets.err and 'ZRANGE: ' .. tickets.err, nil
			break
		end
		local graces, channels = inboxes(tickets)
		if not graces then
			why = channels
			break
		end
		local first = 1
		while graces[first] == false do
			first = first + 1
		end
		local popped = redis.pcall('ZPOPMIN', queue, math.min(first, #tickets))
		if popped.err then
			why = 'ZPOPMIN: ' .. popped.err
			break
		end
		local grace, channel = graces[first], channels[first]
		if grace then
			local set = redis.pcall('SET', lock, '~' .. tickets[first], 'PX', grace)
			if first > 1 or graces[2] == false or graces[3] == false then
				first = 0
				graces, channels = inboxes({unpack(redis.pcall('ZRANGE', queue, 0, 7))})
			end
			local told = 0
			for i = first + 1, graces and #graces or 0 do
				if graces[i] and told < 2 then
					redis.pcall('PUBLISH', channels[i], 'n' .. grace .. ':' .. lock)
					told = told + 1
				end
			end
			-- This comes last, because servers send the last message of a script first.
			local heard = redis.pcall('PUBLISH', channel, 'g' .. lock)
			if set.err then
				why = 'SET: ' .. set.err -- no right to SET, for example
			elseif type(heard) == 'table' then
				why = 'PUBLISH: ' .. heard.err -- nobody was told of the reservation
			end
			if why then
				redis.call('DEL', lock)
			end
			return why
		end
		if #tickets < size then
			rest = nil
			break
		end
		size = 128
	end
	redis.call('DEL', lock)
	if why and string.find(why, 'WRONGTYPE', 1, true) then
		return
	end
	return why or rest and '', not why and rest or nil
end

