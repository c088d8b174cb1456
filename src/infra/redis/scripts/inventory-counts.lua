-- The sizes of the pools, all at one instant.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 sessions per proxy
-- Result {profiles available, used, held, proxies available, total, bad, draining, bindings, free places}
-- include: inventory

local cap = tonumber(ARGV[1])
local free = redis.call('ZCARD', PROXIES_BY_LOAD) * cap
-- By load, not by member: a handful of counts, however many proxies there are.
for load = 1, cap - 1 do
  if load > 64 then
    local busy = redis.call('ZRANGEBYSCORE', PROXIES_BY_LOAD, load, cap, 'WITHSCORES')
    for index = 2, #busy, 2 do free = free - tonumber(busy[index]) end
    break
  end
  free = free - load * redis.call('ZCOUNT', PROXIES_BY_LOAD, load, load)
end
return {
  redis.call('SCARD', PROFILES_AVAILABLE),
  redis.call('SCARD', PROFILES_USED),
  redis.call('SCARD', PROFILES_HELD),
  redis.call('SCARD', PROXIES_AVAILABLE),
  redis.call('SCARD', PROXIES_ALL),
  redis.call('SCARD', PROXIES_BAD),
  redis.call('SCARD', PROXIES_DRAINING),
  redis.call('HLEN', BINDINGS),
  free,
}
