-- Puts a bad or draining proxy back into service; it is available if it has room.
-- KEYS  as in lib/inventory.lua, then 19 the ids of the pieces that the pools hold
-- ARGV  1 proxy, 2 sessions per proxy, 3 id under which SQL knows of it, or 0
-- Result sessions on it, or -1 if it is unknown
-- include: inventory

local proxy = ARGV[1]
if redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0 then return -1 end
if ARGV[3] ~= '0' then redis.call('SADD', KEYS[19], ARGV[3]) end
redis.call('SREM', PROXIES_BAD, proxy)
redis.call('SREM', PROXIES_DRAINING, proxy)
redis.call('HDEL', PROXY_ERRORS, proxy)
place_proxy(proxy, tonumber(ARGV[2]))
return count_of(PROXY_COUNT, proxy)
