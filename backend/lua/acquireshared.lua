-- Take the lock to read, beside other readers, or find that this token already reads. If a
-- waiter that wants the lock for itself is queued before the caller, the caller is refused, so
-- that readers do not keep it waiting forever. A reader that finds the lock free, or reserved
-- for it, notifies the readers that are queued next.
--
-- While anybody reads, the lock holds '~shared', which all other scripts and programs take for
-- a reservation. A set without that lock is stale.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[3]  the set of its readers
-- KEYS[4]  the server's marker, if there is a quarantine
-- ARGV[1]  the token
-- ARGV[2]  the time to live, in milliseconds
-- ARGV[3]  the waiter's ticket. A caller that does not wait omits it, or sends ''
-- ARGV[4]  how long it has waited, in milliseconds; needed with a ticket
-- ARGV[5]  how long the quarantine is, in milliseconds; needed with a marker
-- ARGV[6]  '1' if the token already reads on a quorum of other servers, because this one has
--          lost it: it joins other readers although a waiter is queued, which has to wait for
--          the token anyway. Anything else, or omitted, otherwise
-- Answers 1 if it has granted the lock for ARGV[2]. If the token was reading already, it answers {1,
-- time to live of its share}. If it refuses, it answers as acquire.lua does, and the owner of a lock
-- with readers is '~shared'. Fails if the user could not release what the script would grant, and
-- if the server has no memory.

-- The common case: the lock is free, it has neither a queue nor a set of readers, and the caller
-- does not wait. It comes before the functions, because defining them takes a server about as
-- long as the rest. All other cases are left to the rest of the script. So are servers before
-- Redis 7, which cannot say what a user may do, and a user who may not do all of this.
--
-- A release may need other commands, so the user must have the right to them. Asking takes a
-- server less than half as long as running the commands. SET is the first command
-- that writes. So a server without memory refuses it, and nothing has changed. The share ends
-- when the lock expires.
local lock, queue, readers, token = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local may = redis.acl_check_cmd
if may and not KEYS[4] and (ARGV[3] or '') == '' and ARGV[2] and #ARGV[2] <= 15
	and redis.pcall('EXISTS', lock, queue, readers) == 0 then
	-- A server raises an error if it does not have a command.
	local known, allowed = pcall(function()
		return may('GET', lock) and may('TIME') and may('DEL', lock, readers) and may('PEXPIRETIME', lock)
			and may('PEXPIREAT', lock, '0') and may('ZSCORE', readers, token) and may('ZREM', readers, token) and may('ZRANGE', readers, '0', '1')
	end)
	local taken = known and allowed and redis.pcall('SET', lock, '~shared', 'PX', ARGV[2])
	if taken and not taken.err then
		local ends = string.format('%.0f', redis.call('PEXPIRETIME', lock))
		if redis.pcall('ZADD', readers, ends, token) == 1 and redis.pcall('PEXPIREAT', readers, ends) == 1 then
			return 1
		end
		-- Readers must not find a lock without its set, or a set that never expires.
		redis.call('DEL', lock, readers)
	end
end

--@include enqueue, invite, now, purge, quarantine, reading, ready, refuse, share, whole

local ttl, ticket, waited = whole(ARGV[2]), ARGV[3] or '', whole(ARGV[4])
if not ttl or ttl == 0 or ticket ~= '' and not waited then
	return redis.error_reply('ERR a number of the acquire is not an integer or out of range')
end
local err = KEYS[4] and suspect(KEYS[4], ARGV[5])
if err then
	return err
end
local held = redis.pcall('GET', lock)
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
	return held
end
local at = now()
local ends = held == '~shared' and reading(readers, token, at)
if ends then
	return {1, ends - at}
end
local free = not held or ticket ~= '' and held == '~' .. ticket
err = (free or held == '~shared') and ready(lock, readers, token)
if err then
	return err
end
if held == '~shared' then
	purge(readers, token, at)
end
if held == '~shared' and ticket ~= '' then
	enqueue(queue, ticket, waited) -- its place tells whether a writer is before it
end
if not free and not (held == '~shared' and (ARGV[6] == '1' or invite(lock, queue, ticket))) then
	return {0, refuse(lock, held, queue, ticket, waited)}
end
if free then
	redis.call('DEL', readers)
	redis.call('SET', lock, '~shared', 'PX', string.format('%.0f', ttl))
end
err = share(lock, readers, token, at + ttl)
if err then
	if free then
		redis.call('DEL', lock)
	end
	return err
end
if ticket ~= '' then
	redis.pcall('ZREM', queue, ticket)
end
if free then
	invite(lock, queue, '')
end
return 1
