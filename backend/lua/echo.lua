-- Publish to the caller's own inbox, so that it sees whether notifications arrive.
--
-- KEYS[1]  a lock for which it waits, or any key
-- ARGV[1]  the channel of its inbox
-- ARGV[2]  the message
-- Answers 1 if the channel has a subscriber here, and 0 otherwise. Fails with the error of the
-- server if it does not let a script publish or list subscribers.

local sent = redis.pcall('PUBLISH', ARGV[1], ARGV[2])
if type(sent) == 'table' then
	return sent
end
local heard = redis.pcall('PUBSUB', 'NUMSUB', ARGV[1])
if heard.err then
	return heard
end
return (tonumber(heard[2]) or 0) > 0 and 1 or 0
