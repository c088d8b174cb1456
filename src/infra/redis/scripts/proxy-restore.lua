-- Puts a bad or draining proxy back into service; it is available if it has room.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 proxy, 2 sessions per proxy
-- Result sessions on it, or -1 if it is unknown
-- include: inventory

local proxy = ARGV[1]
if redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0 then return -1 end
redis.call('SREM', PROXIES_BAD, proxy)
redis.call('SREM', PROXIES_DRAINING, proxy)
redis.call('HDEL', PROXY_ERRORS, proxy)
place_proxy(proxy, tonumber(ARGV[2]))
return count_of(PROXY_COUNT, proxy)
