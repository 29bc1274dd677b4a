-- Run commands, one for each argument. Their words are separated by line breaks. A word that
-- begins with @ is a time: that many milliseconds after now, since 1970.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('DEL', unpack(KEYS))
for _, command in ipairs(ARGV) do
	local words = {}
	for word in string.gmatch(command .. '\n', '(.-)\n') do
		local after = string.match(word, '^@(.+)$')
		words[#words + 1] = after and string.format('%.0f', now + after) or word
	end
	redis.call(unpack(words))
end
return 1
