-- What most releases are: of the token that the lock holds, with nobody in the queue
-- and nothing else to be done. This goes before the functions, since to make them takes
-- a server as long as half of what follows. Whatever is not so is for the rest of the
-- script, a queue that cannot be looked at too.
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] and held ~= '' and not ARGV[2] and not KEYS[3] and redis.pcall('EXISTS', KEYS[2]) == 0 then
	return redis.call('DEL', KEYS[1])
end

