-- End the server's quarantine: it has lost nothing that it had granted, or nothing that still
-- matters.
--
-- KEYS[1]  the server's marker
-- Answers 1. The marker does not expire.

--@include marker

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
