-- entomb adds the tombstone of a token for this number of milliseconds. While it exists, a
-- vote for the token that arrives late, or twice, is refused. If the tombstone cannot be
-- added, the lock is released anyway. A server without memory refuses SET, but not in a script
-- that has written already. So if SET fails, it is tried once more, after a DEL.
local function entomb(tombstone, ms)
	for _ = 1, 2 do
		if not redis.pcall('SET', tombstone, '1', 'PX', string.format('%.0f', ms)).err then
			return
		end
		redis.pcall('DEL', tombstone)
	end
end

