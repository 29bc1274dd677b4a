-- Look at a key, its value and its time to live at one moment.
--
-- KEYS[1]  the key
-- Answers {1, value, time to live} if it exists, the value empty if it is no
-- string, the time in milliseconds, -1 if it does not expire; else {0, '', 0}.

local left = redis.call('PTTL', KEYS[1])
if left == -2 then
	return {0, '', 0}
end
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then
	if not string.find(held.err, 'WRONGTYPE', 1, true) then
		return held
	end
	held = ''
end
return {1, held or '', left}
