-- clock returns the server's time, in microseconds since 1970.
local function clock()
	local t = redis.call('TIME')
	return t[1] * 1000000 + t[2]
end

