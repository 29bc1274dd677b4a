-- number returns the number with at most 16 digits that a text is, or nothing.
local function number(text)
	if text and #text <= 16 and string.find(text, '^%d+$') then
		return tonumber(text)
	end
end

