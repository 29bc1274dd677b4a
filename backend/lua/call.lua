-- call frees the lock for the next waiter: the first of the queue whose inbox is
-- heard is taken out of it, the lock is reserved for it, and it is told. The next
-- two that are heard, of the eight behind it, are told too, to look once the
-- reservation has ended, should it not come. Without a waiter, or with a queue that
-- cannot be used, the lock is deleted: nothing that is wrong with the queue may
-- keep it.
local function call(lock, queue)
	for _ = 1, 16 do -- a long row of the dead must not hold up the server
		local ticket = redis.pcall('ZPOPMIN', queue)[1]
		if not ticket then
			break
		end
		local grace, channel = inbox(ticket)
		if grace then
			if redis.pcall('SET', lock, '~' .. ticket, 'PX', grace).err then
				redis.call('DEL', lock) -- no right to SET, for example
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
			redis.pcall('PUBLISH', channel, 'g' .. lock)
			return
		end
	end
	redis.call('DEL', lock)
end

