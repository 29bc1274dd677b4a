-- whole returns the number that an argument says, if it is a whole one that Lua
-- counts exactly, else nothing.
local function whole(arg)
	if arg and #arg <= 15 and string.find(arg, '^%d+$') then
		return tonumber(arg)
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

-- run returns the server's run_id, which is another after each start, and another
-- on a replica than on its master, or nothing and the error.
local function run()
	local info = redis.pcall('INFO', 'server')
	local id = type(info) == 'string' and string.match(info, 'run_id:(%S+)')
	if id then
		return id
	end
	return nil, redis.error_reply('NORUNID this server does not tell its run_id, without which there is no quarantine: '
		.. (info.err or 'INFO server has none'))
end

-- marked returns what a marker holds, empty if it is missing, or nothing and the
-- error.
local function marked(marker)
	local held = redis.pcall('GET', marker)
	if type(held) ~= 'table' then
		return held or ''
	end
	if string.find(held.err, 'WRONGTYPE', 1, true) then
		return nil, redis.error_reply(string.format('WRONGTYPE the marker %q is in use for something else, '
			.. 'and is not overwritten', marker))
	end
	return nil, held
end

-- suspect returns an error if this server must not vote, because it may have lost
-- what it had granted, else nothing.
--
-- The marker holds "<run_id> <since>". It is missing after everything was deleted,
-- and of another run after a start, with whatever data, and where a replica has
-- taken its master's place. Since is when that was first seen, in microseconds of
-- this server's clock; from then on it does not vote for so many milliseconds. It
-- is 0 if the server was said to be well. The one who asks changes nothing about
-- since: each may have a length of his own.
local function suspect(marker, ms)
	local length = whole(ms)
	if not length or length == 0 then
		return redis.error_reply('ERR the length of the quarantine is not an integer or out of range')
	end
	local id, err = run()
	if not id then
		return err
	end
	local held
	held, err = marked(marker)
	if not held then
		return err
	end
	local now = clock()
	local of, since = string.match(held, '^(%S+) (%d+)$')
	since = number(since)
	-- One in the future was written before the clock was set back: how long ago
	-- that is, nobody can tell.
	if of ~= id or not since or since > now then
		since = now
		redis.call('SET', marker, string.format('%s %.0f', id, now))
	end
	local left = since + length * 1000 - now
	if since > 0 and left > 0 then
		return redis.error_reply(string.format('QUARANTINE for another %.0f ms: this server has restarted, or has lost '
			.. 'its marker %q, and may have lost locks with it; init ends that', math.ceil(left / 1000), marker))
	end
end

-- Raise a vote: move the counter up to a value, if the lock holds the token.
--
-- KEYS[1]  the lock
-- KEYS[2]  its counter
-- KEYS[3]  the server's marker; missing for no quarantine
-- ARGV[1]  the token
-- ARGV[2]  the value
-- ARGV[3]  for how long the counter is kept, in milliseconds, 0 for ever
-- ARGV[4]  for how long the server does not vote when it may have lost anything, in
--          milliseconds; with a marker only
-- Answers 1 if the lock holds the token and the counter was below the value, or is
-- there already: the token's vote is for the value then. Answers 0 if the lock is
-- missing or holds anything else, or the counter is above the value.
-- Fails with FENCE if the lock holds the token and the counter is none, or the
-- value too far ahead, and with QUARANTINE if the server must not vote yet. Nothing
-- was done then, but for the marker.

local value, keep = number(ARGV[2]), whole(ARGV[3])
if not value or value == 0 or not keep then
	return redis.error_reply('ERR a number of the raise is not an integer or out of range')
end
local err = KEYS[3] and suspect(KEYS[3], ARGV[4])
if err then
	return err
end
local held = redis.pcall('GET', KEYS[1])
if held ~= ARGV[1] then
	if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
		return held
	end
	return 0
end
err = beyond(KEYS[2], value, clock())
if err then
	return err
end
local c
c, err = count(KEYS[2])
if err then
	return err
end
if c > value then
	return 0
end
if c < value then
	put(KEYS[2], value, keep)
end
return 1
