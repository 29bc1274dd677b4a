-- whole returns the number that an argument says, if it is a whole one that Lua
-- counts exactly, else nothing.
local function whole(arg)
	if arg and #arg <= 15 and string.find(arg, '^%d+$') then
		return tonumber(arg)
	end
end

-- lengthen has a key live for at least so many milliseconds from now. It never
-- shortens: an older extension may arrive after a newer one. A key without an
-- expiry (-1) outlives any.
local function lengthen(key, ms)
	local left = redis.call('PTTL', key)
	if left >= 0 and left < tonumber(ms) then
		redis.call('PEXPIRE', key, ms)
	end
end

-- clock returns the server's time, in microseconds since 1970.
local function clock()
	local t = redis.call('TIME')
	return t[1] * 1000000 + t[2]
end

-- number returns the number that a text of at most 16 digits says, nothing for
-- any other text.
local function number(text)
	if text and #text <= 16 and string.find(text, '^%d+$') then
		return tonumber(text)
	end
end

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

-- Let a lock with a fencing token live for at least so long from now, if it holds
-- the token, and its counter too. A counter that was lost, or is below the value,
-- is made good.
--
-- KEYS[1]  the lock
-- KEYS[2]  its counter
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the value: the fencing token
-- ARGV[4]  for how long the counter is kept, in milliseconds, 0 for ever
-- Answers 1 if the lock holds the token, 0 if it is missing or holds anything else.
-- A counter that is none is left as it is: nobody can vote on this node until
-- somebody sees to that, and so nothing is lost. Fails with FENCE if the counter
-- would have to move too far ahead. Nothing was done then.

local ttl, value, keep = whole(ARGV[2]), number(ARGV[3]), whole(ARGV[4])
if not ttl or ttl == 0 or not value or value == 0 or not keep then
	return redis.error_reply('ERR a number of the extension is not an integer or out of range')
end
local held = redis.pcall('GET', KEYS[1])
if held ~= ARGV[1] then
	if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
		return held
	end
	return 0
end
-- The counter first: a script that fails keeps what it has written.
local c = count(KEYS[2])
if c and c < value then
	local err = beyond(KEYS[2], value, clock())
	if err then
		return err
	end
	put(KEYS[2], value, keep)
elseif c and keep > 0 then
	redis.call('PEXPIRE', KEYS[2], string.format('%.0f', keep))
elseif c then
	redis.call('PERSIST', KEYS[2])
end
lengthen(KEYS[1], string.format('%.0f', ttl))
return 1
