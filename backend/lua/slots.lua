-- Look at the slots of a lock that several may hold, at one moment. It changes nothing.
--
-- KEYS     the slots
-- ARGV[1]  the ticket of a waiter, for whom a slot may be reserved; or '', or omitted
-- Answers a number for each slot, in their order: for how many milliseconds it is taken, -1
-- if that is for ever, and -2 if it is free or reserved for this waiter.

local reserved = ARGV[1] and ARGV[1] ~= '' and '~' .. ARGV[1]
local reply = {}
for i, slot in ipairs(KEYS) do
	local left = redis.call('PTTL', slot)
	-- A key of another type makes GET fail. It is taken.
	if left ~= -2 and reserved and redis.pcall('GET', slot) == reserved then
		left = -2
	end
	reply[i] = left
end
return reply
