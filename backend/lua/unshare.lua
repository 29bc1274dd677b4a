--@include purge, reading

-- unshare takes a token out of the readers of a shared lock. It returns 1 if the token was
-- still reading, otherwise 0, and whether nobody reads any more. If others do, the lock lives
-- until the last of them ends. It also removes shares that have ended.
local function unshare(lock, readers, token, now)
	local mine = reading(readers, token, now) and 1 or 0
	purge(readers, token, now)
	local last = tonumber(redis.call('ZRANGE', readers, -1, -1, 'WITHSCORES')[2] or 0)
	if last <= now then
		redis.call('DEL', readers)
		return mine, true
	end
	redis.call('PEXPIREAT', readers, string.format('%.0f', last))
	redis.call('PEXPIREAT', lock, string.format('%.0f', last))
	return mine, false
end

