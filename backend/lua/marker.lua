-- run returns the server's run_id, or nothing and the error. It changes with each start, and a
-- replica has another one than its master.
local function run()
	local info = redis.pcall('INFO', 'server')
	local id = type(info) == 'string' and string.match(info, 'run_id:(%S+)')
	if id then
		return id
	end
	return nil, redis.error_reply('NORUNID this server does not tell its run_id, without which there is no quarantine: '
		.. (info.err or 'INFO server has none'))
end

-- marked returns the value of a marker, empty if it is missing; or nothing and the error.
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

