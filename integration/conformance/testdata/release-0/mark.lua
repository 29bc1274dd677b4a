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

-- Say that a server is well: it has lost nothing of what it had granted, or nothing
-- that matters any more. It votes at once.
--
-- KEYS[1]  the server's marker
-- Answers 1. The marker does not expire.

local id, err = run()
if not id then
	return err
end
local held
held, err = marked(KEYS[1])
if not held then
	return err
end
redis.call('SET', KEYS[1], id .. ' 0')
return 1
