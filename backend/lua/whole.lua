-- whole returns the whole number that an argument is, if it is small enough for Lua to count
-- exactly, or nothing.
local function whole(arg)
	if arg and #arg <= 15 and string.find(arg, '^%d+$') then
		return tonumber(arg)
	end
end

