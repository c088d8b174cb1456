#!lua flags=allow-oom
-- Takes a proxy out of service. Its sessions stay where they are.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 proxy, 2 error JSON or ''
-- Result sessions on it, or -1 if it is unknown
-- include: inventory

local proxy = ARGV[1]
if redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0 then return -1 end
redis.call('SADD', PROXIES_BAD, proxy)
retire(proxy)
if present(ARGV[2]) then redis.call('HSET', PROXY_ERRORS, proxy, ARGV[2]) end
return count_of(PROXY_COUNT, proxy)
