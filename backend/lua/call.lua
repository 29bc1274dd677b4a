-- call frees the lock for the next waiter: the first of the queue whose inbox is
-- heard is taken out of it, the lock is reserved for it, and it is told. The next
-- two that are heard, of the eight behind it, are told too, to look once the
-- reservation has ended, should it not come. Without a waiter, or with a queue that
-- cannot be used, the lock is deleted: nothing that is wrong with the queue may
-- keep it. It returns nothing, or which command kept it from calling and the error; that the
-- queue is none is not one, since nobody waits there.
local function call(lock, queue)
	local why
	for _ = 1, 16 do -- a long row of the dead must not hold up the server
		local popped = redis.pcall('ZPOPMIN', queue)
		local ticket = popped[1]
		if not ticket then
			why = popped.err and 'ZPOPMIN: ' .. popped.err
			break
		end
		local grace, channel = inbox(ticket)
		if grace then
			local set = redis.pcall('SET', lock, '~' .. ticket, 'PX', grace)
			if set.err then
				redis.call('DEL', lock) -- no right to SET, for example
				why = 'SET: ' .. set.err
			end
			local told = 0
			for _, behind in ipairs(redis.pcall('ZRANGE', queue, 0, 7)) do
				local _, other = inbox(behind)
				if other then
					redis.pcall('PUBLISH', other, 'n' .. grace .. ':' .. lock)
					told = told + 1
					if told == 2 then
						break
					end
				end
			end
			-- The last, for of what one script publishes servers send the last first.
			local heard = redis.pcall('PUBLISH', channel, 'g' .. lock)
			if type(heard) == 'table' then
				why = 'PUBLISH: ' .. heard.err
			end
			return why
		end
	end
	redis.call('DEL', lock)
	if why and not string.find(why, 'WRONGTYPE', 1, true) then
		return why
	end
end

