-- entomb adds the tombstone of a token for this number of milliseconds. While it exists, a
-- vote for the token that arrives late, or twice, is refused. If the tombstone cannot be
-- added, the lock is released anyway. A server without memory refuses SET, but not in a script
-- that has written already, so this deletes first.
local function entomb(tombstone, ms)
	redis.pcall('DEL', tombstone)
	redis.pcall('SET', tombstone, '1', 'PX', string.format('%.0f', ms))
end

