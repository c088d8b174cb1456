#!lua flags=allow-oom
-- Removes a proxy: at once if it carries no session, else when its last one has left.
-- KEYS  as in lib/inventory.lua, then 19 the ids of the pieces that the pools hold
-- ARGV  1 proxy, 2 id under which SQL knows of it, or 0
-- Result sessions still on it, or -1 if it is unknown
-- include: inventory

local proxy = ARGV[1]
if redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0 then return -1 end
if ARGV[2] ~= '0' then redis.call('SADD', KEYS[19], ARGV[2]) end
local sessions = count_of(PROXY_COUNT, proxy)
if sessions == 0 then
  forget_proxy(proxy)
else
  redis.call('SADD', PROXIES_DRAINING, proxy)
  retire(proxy)
end
return sessions
