-- The next free profiles in the order of their upload. Entries that are no longer available are dropped.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 how many at most
-- Result profiles
-- include: inventory

local wanted, found = tonumber(ARGV[1]), {}
for _ = 1, 20 do
  if #found >= wanted then break end
  local candidates = redis.call('ZRANGE', PROFILES_ORDER, #found, wanted - 1)
  if #candidates == 0 then break end
  for _, profile in ipairs(candidates) do
    if redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 1 then
      found[#found + 1] = profile
    else
      redis.call('ZREM', PROFILES_ORDER, profile)
    end
  end
end
return found
