-- Answer for each key its type, what it holds, and in how many steps of ten seconds it expires.
-- Scores are also shown as such steps after now.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local function steps(ms)
	return string.format('%.0f', math.floor(ms / 10000 + 0.5))
end

local shown = {}
for i, key in ipairs(KEYS) do
	local kind, held = redis.call('TYPE', key).ok, ''
	if kind == 'string' then
		held = redis.call('GET', key)
	elseif kind == 'list' then
		held = table.concat(redis.call('LRANGE', key, 0, -1), ' ')
	elseif kind == 'zset' then
		local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
		local pairs = {}
		for j = 1, #members, 2 do
			pairs[#pairs + 1] = members[j] .. ' ' .. steps(members[j + 1] - now)
		end
		table.sort(pairs) -- by name, because times that are about the same may be in any order
		held = table.concat(pairs, ', ')
	end
	shown[i] = kind .. ' ' .. held .. ' for ' .. steps(redis.call('PTTL', key))
end
return shown
