-- lengthen has a key live for at least so many milliseconds from now. It never
-- shortens: an older extension may arrive after a newer one. A key without an
-- expiry (-1) outlives any.
local function lengthen(key, ms)
	local left = redis.call('PTTL', key)
	if left >= 0 and left < tonumber(ms) then
		redis.call('PEXPIRE', key, ms)
	end
end

