#!lua flags=allow-oom
-- Removes a proxy: at once if it carries no session, else when its last one has left.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 proxy
-- Result sessions still on it, or -1 if it is unknown
-- include: inventory

local proxy = ARGV[1]
if redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0 then return -1 end
local sessions = count_of(PROXY_COUNT, proxy)
if sessions == 0 then
  forget_proxy(proxy)
else
  redis.call('SADD', PROXIES_DRAINING, proxy)
  retire(proxy)
end
return sessions
