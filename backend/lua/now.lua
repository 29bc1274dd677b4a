--@include clock

-- now returns the server's time, in whole milliseconds since 1970.
local function now()
	return math.floor(clock() / 1000)
end

