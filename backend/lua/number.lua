-- number returns the number that a text of at most 16 digits says, nothing for
-- any other text.
local function number(text)
	if text and #text <= 16 and string.find(text, '^%d+$') then
		return tonumber(text)
	end
end

