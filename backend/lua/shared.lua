-- shared reports whether a ticket is that of a waiter that only wants to read. Its grace has
-- five digits, of which the first is a 9.
local function shared(ticket)
	return string.find(ticket, '^9%d%d%d%d:') ~= nil
end

