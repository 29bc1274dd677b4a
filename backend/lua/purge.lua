-- purge removes a token from the set of readers, and up to 16 shares that have ended. Each
-- acquire adds only one, so they do not pile up.
local function purge(readers, token, now)
	local gone = {token}
	local oldest = redis.call('ZRANGE', readers, 0, 15, 'WITHSCORES')
	for i = 1, #oldest, 2 do
		if tonumber(oldest[i + 1]) <= now then
			gone[#gone + 1] = oldest[i]
		end
	end
	redis.call('ZREM', readers, unpack(gone))
end

