-- Have each key hold what three arguments say: its type, what it holds, and for how
-- many milliseconds, or empty for ever.
redis.call('DEL', unpack(KEYS))
for i, key in ipairs(KEYS) do
	local kind, value, ms = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
	if kind == 'string' then
		redis.call('SET', key, value)
	elseif kind == 'list' then
		redis.call('RPUSH', key, value)
	elseif kind == 'zset' then
		redis.call('ZADD', key, 1, value)
	end
	if kind ~= '' and ms ~= '' then
		redis.call('PEXPIRE', key, ms)
	end
end
return 1
