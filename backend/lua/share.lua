-- share lets a token read until the given time, in milliseconds since 1970. The readers of a
-- lock are a sorted set of tokens, each with the time at which its share ends as its score. The
-- lock and the set live until the last of these times. Without the rights to do this, share
-- changes nothing that counts, and returns the error. If the token reads already, was is the end
-- of its share, which it keeps then; otherwise nil.
local function share(lock, readers, token, ends, was)
	local done = redis.pcall('ZADD', readers, string.format('%.0f', ends), token)
	if type(done) == 'table' then
		return done
	end
	local last = redis.pcall('ZRANGE', readers, -1, -1, 'WITHSCORES')
	for _, key in ipairs({readers, lock}) do
		done = last.err and last or redis.pcall('PEXPIREAT', key, string.format('%.0f', tonumber(last[2])))
		if type(done) == 'table' then
			if was then
				redis.call('ZADD', readers, string.format('%.0f', was), token)
			else
				redis.call('ZREM', readers, token)
			end
			return done
		end
	end
end

