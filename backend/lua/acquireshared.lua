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
-- Answers as acquire.lua does. The time to live of a grant is that of the token's own share.
-- The owner of a lock with readers is '~shared'. Fails if the user could not release what the
-- script would grant, and if the server has no memory.

--@include enqueue, invite, now, purge, quarantine, reading, ready, refuse, share, whole

local lock, queue, readers, token = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
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
err = (free or held == '~shared') and ready(readers, token)
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
return {1, ttl}
