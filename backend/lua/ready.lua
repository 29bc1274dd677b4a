-- ready returns an error if the user lacks a right without which a token could not read, or
-- could not stop reading, or if the server has no memory for another reader. The token must not
-- be reading. It must be called before the script writes anything, because a server without
-- memory lets a script write if it has written already. A set of another type is no error.
-- The last reader has to delete. Servers before Redis 7 cannot say whether the user may.
local function ready(lock, readers, token)
	if redis.acl_check_cmd and not redis.acl_check_cmd('DEL', lock, readers) then
		return redis.error_reply("NOPERM this user has no permissions to run the 'del' command on the lock and its readers")
	end
	for _, command in ipairs({{'ZADD', readers, 'XX', '0', token}, {'ZSCORE', readers, token}, {'ZREM', readers, token}}) do
		local done = redis.pcall(unpack(command))
		if type(done) == 'table' and done.err and not string.find(done.err, 'WRONGTYPE', 1, true) then
			return done
		end
	end
end

