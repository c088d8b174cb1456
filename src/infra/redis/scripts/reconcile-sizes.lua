-- Whether the sizes of the pools agree with each other. Costs one look at each proxy that carries a session.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 sessions per proxy
-- Result 1 or 0
-- include: inventory

local cap, full, both = tonumber(ARGV[1]), 0, 0
local counts = redis.call('HGETALL', PROXY_COUNT)
for index = 1, #counts, 2 do
  if (tonumber(counts[index + 1]) or 0) >= cap and in_service(counts[index]) then full = full + 1 end
end
for _, proxy in ipairs(redis.call('SMEMBERS', PROXIES_DRAINING)) do
  both = both + redis.call('SISMEMBER', PROXIES_BAD, proxy)
end
local available = redis.call('SCARD', PROXIES_AVAILABLE)
local out = redis.call('SCARD', PROXIES_BAD) + redis.call('SCARD', PROXIES_DRAINING) - both
local proxies_agree = available == redis.call('ZCARD', PROXIES_BY_LOAD)
  and redis.call('SCARD', PROXIES_ALL) == available + out + full
local profiles_agree = redis.call('SCARD', PROFILES_AVAILABLE)
  == redis.call('ZCARD', PROFILES_ORDER) + redis.call('SCARD', PROFILES_HELD)
if proxies_agree and profiles_agree then return 1 end
return 0
