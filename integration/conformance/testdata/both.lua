-- Run a vote with its quick part, and one without, each on keys of its own, while the
-- clock stands.
--
-- KEYS     the five of the one, the five of the other
-- ARGV[1]  the time, in seconds
-- ARGV[2]  and the microseconds beyond them
-- ARGV[3]  a command that the server refuses, and, after a blank, the end of the only key
--          with which it does, if it is not all; or empty. With TIME it refuses all that
--          tells the time
-- ARGV[4]  how many keys the vote is told of
-- ARGV[5…] its arguments
-- Answers {the answer of the one, of the other, what is left by the one, by the other,
-- what of that lives for another time, 1 if the first was quick or 0}.

local server, seconds, micros, denied, told = redis, ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local function quick(redis, KEYS, ARGV)
--[[QUICK]]
end

local function slow(redis, KEYS, ARGV)
--[[SLOW]]
end

local function show(v)
	if type(v) == 'number' then
		return string.format('%.0f', v)
	elseif type(v) ~= 'table' then
		return tostring(v)
	elseif v.err then
		return 'error ' .. v.err
	end
	local shown = {}
	for i, e in ipairs(v) do
		shown[i] = show(e)
	end
	return '{' .. table.concat(shown, ', ') .. '}'
end

-- vote runs one of them on the keys from there on, and returns its answer and how often
-- it called which command.
local function vote(text, from)
	local keys, args, asked, lives = {}, {}, {}, {}
	for i = 1, told do
		keys[i] = KEYS[from + i]
	end
	for i = 5, #ARGV do
		args[i - 4] = ARGV[i]
	end
	local front = {error_reply = server.error_reply}
	function front.pcall(command, key, ...)
		local set
		asked[command] = (asked[command] or 0) + 1
		if command == 'SET' then
			set = {...}
			lives[key] = set[#set - 1] == 'PX' and set[#set]
			-- By an embedded server's clock, which does not stand while a script runs, this
			-- would be gone before anybody looks.
			if lives[key] == '1' then
				set[#set] = '1000'
			end
		end
		local on = command .. ' ' .. (string.match(key or '', ':(%a+)$') or '')
		if denied == command or denied == on or denied == 'TIME' and command == 'PEXPIRETIME' then
			return {err = 'NOPERM ' .. command}
		elseif command == 'TIME' then
			return {seconds, micros}
		elseif command == 'PEXPIRETIME' then
			return seconds * 1000 + math.floor(micros / 1000) + lives[key]
		elseif command == 'PTTL' then -- what was to live for minutes has lost less than one
			return math.ceil(server.pcall(command, key) / 60000) * 60000
		end
		if set then
			return server.pcall(command, key, unpack(set, 1, select('#', ...)))
		end
		return server.pcall(command, key, ...)
	end
	function front.call(command, ...)
		local r = front.pcall(command, ...)
		if type(r) == 'table' and r.err then
			error(r, 0)
		end
		return r
	end
	local ran, answer = pcall(text, front, keys, args)
	if not ran and type(answer) ~= 'table' then -- an error that was raised, by some servers
		answer = {err = answer}
	end
	return show(answer), asked
end

-- left returns what the keys from there on hold, and for how long each lives.
local function left(from)
	local held, lives = {}, {}
	for i = from + 1, from + 5 do
		local kind = server.call('TYPE', KEYS[i]).ok
		local what = ''
		if kind == 'string' then
			what = server.call('GET', KEYS[i])
		elseif kind == 'list' then
			what = show(server.call('LRANGE', KEYS[i], 0, -1))
		elseif kind == 'zset' then
			what = show(server.call('ZRANGE', KEYS[i], 0, -1, 'WITHSCORES'))
		end
		held[#held + 1] = kind .. ' ' .. what
		lives[#lives + 1] = server.call('PTTL', KEYS[i])
	end
	return show(held), lives
end

local one, asked = vote(quick, 0)
local other = vote(slow, 5)
local by, lives = left(0)
local byOther, livesOther = left(5)
-- Each has its keys' names in its errors, and they differ in these words.
one, other = string.gsub(one, 'quick:', ''), string.gsub(other, 'slow:', '')
local differs = ''
for i = 1, 5 do
	-- The time of a server may go on within a script, if by no more than this.
	if math.abs(lives[i] - livesOther[i]) > 1000 then
		differs = differs .. string.format('key %d lives for %d and %d ms\n', i, lives[i], livesOther[i])
	end
end
local was = asked.MGET and not asked.EXISTS and string.find(one, '^%d+$')
return {one, other, by, byOther, differs, was and 1 or 0}
