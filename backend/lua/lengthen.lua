-- lengthen lets a key live for at least this number of milliseconds from now on. It never
-- shortens the time, because an older extension may arrive after a newer one. A key that does
-- not expire (-1) stays so.
local function lengthen(key, ms)
	local left = redis.call('PTTL', key)
	if left >= 0 and left < tonumber(ms) then
		redis.call('PEXPIRE', key, ms)
	end
end

