--@include number

-- Counters are in microseconds of the server's clock. Lua's numbers are exact up to 2^53 - 1,
-- which is in the year 2255. A counter that is more than a day ahead does not come from a clock
-- that is a little off. If this server followed it, the other nodes would have to follow too.
local most, day = 9007199254740991, 86400000000

-- count returns the value of a counter, 0 if it is missing; or nothing and the error.
local function count(counter)
	local text = redis.pcall('GET', counter)
	if not text then
		return 0
	end
	if type(text) == 'table' and not string.find(text.err, 'WRONGTYPE', 1, true) then
		return nil, text
	end
	local c = type(text) == 'string' and number(text)
	if c then
		return c
	end
	return nil, redis.error_reply(string.format('FENCE the counter %q holds no number of at most 16 digits: '
		.. 'delete it while nobody holds the lock', counter))
end

-- beyond returns an error if a counter must not be c at this time. Otherwise it returns
-- nothing.
local function beyond(counter, c, now)
	if c > most or c > now + day then
		return redis.error_reply(string.format('FENCE the counter %q would be %.0f, more than a day ahead of this server: '
			.. 'set its clock right, or delete the counter while nobody holds the lock', counter, c))
	end
end

-- put sets a counter to c, for this number of milliseconds, or without expiry if that is 0. It
-- formats the number itself, because Lua's conversion to text is not exact.
local function put(counter, c, keep)
	if keep > 0 then
		redis.call('SET', counter, string.format('%.0f', c), 'PX', string.format('%.0f', keep))
	else
		redis.call('SET', counter, string.format('%.0f', c))
	end
end

