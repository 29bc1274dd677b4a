-- bury puts up the tombstone of a token for so many milliseconds: a vote for it
-- that arrives late, or twice, is refused as long as it stands. Whether that can
-- be done or not, the lock is released.
local function bury(tombstone, ms)
	redis.pcall('SET', tombstone, '1', 'PX', string.format('%.0f', ms))
end

