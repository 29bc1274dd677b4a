-- call frees the lock for the next waiter: the first of the queue that listens is taken
-- out of it, the lock is reserved for it, and it is notified. The next two that listen, of
-- the eight behind it, are told to look once the reservation has ended, should it not
-- come. Tickets of the dead before it are removed, at most 515 at a time, so that they do
-- not hold up the server. Without a waiter, or with a queue that cannot be used, the lock
-- is deleted: nothing that is wrong with the queue may keep it.
-- It returns nothing; or, if the next waiter could not be notified, which command failed
-- and the error; or '' and 1 if it removed as many of the dead as it may, and there may be
-- more. A key that is no queue is not an error, because nobody waits there.
local function call(lock, queue)
	local why
	local rest = 1
	local size = 3 -- most often they are alive, and no more are needed
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
			-- The last, because of what one script publishes servers send the last first.
			local heard = redis.pcall('PUBLISH', channel, 'g' .. lock)
			if set.err then
				why = 'SET: ' .. set.err -- no right to SET, for example
			elseif type(heard) == 'table' then
				why = 'PUBLISH: ' .. heard.err -- nobody knows of the reservation
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

