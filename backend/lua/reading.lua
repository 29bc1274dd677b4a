-- reading returns the time at which the share of a token ends, or nothing if that has passed
-- or the token has none. A share that has ended counts for nothing, although the token is in
-- the set until somebody removes it.
local function reading(readers, token, now)
	local ends = tonumber(redis.call('ZSCORE', readers, token) or 0)
	return ends > now and ends or nil
end

