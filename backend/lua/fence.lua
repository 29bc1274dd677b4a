-- Counters are in microseconds of the server's clock. 2^53 - 1, as far as Lua's
-- numbers are exact, is in the year 2255. A counter that is more than a day ahead
-- is not the work of a clock that is a little off: to follow it would take the
-- other nodes along.
local most, day = 9007199254740991, 86400000000

-- count returns what a counter stands at, 0 if it is missing, or nothing and the
-- error.
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

-- beyond returns an error if a counter is not to stand at c at this time, else
-- nothing.
local function beyond(counter, c, now)
	if c > most or c > now + day then
		return redis.error_reply(string.format('FENCE the counter %q would be %.0f, more than a day ahead of this server: '
			.. 'set its clock right, or delete the counter while nobody holds the lock', counter, c))
	end
end

-- put has a counter stand at c, for so many milliseconds, or for ever if that is 0.
-- Lua's own way from numbers to text is not exact.
local function put(counter, c, keep)
	if keep > 0 then
		redis.call('SET', counter, string.format('%.0f', c), 'PX', string.format('%.0f', keep))
	else
		redis.call('SET', counter, string.format('%.0f', c))
	end
end

