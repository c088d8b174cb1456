#!lua flags=allow-oom
-- What a person wants of a proxy, as SQL knows it.
-- KEYS  as in lib/inventory.lua, then the marker of the settled server
-- ARGV  1 proxy, 2 'bad', 'draining' or 'good', 3 error JSON or '', 4 sessions per proxy, 5 run id
-- Result 1 if something was changed, 0 if not, -2 if there is no such proxy, -1 if the server has been settled meanwhile
-- include: inventory

if redis.call('GET', KEYS[#KEYS]) == ARGV[5] then return -1 end
local proxy, mark, cap = ARGV[1], ARGV[2], tonumber(ARGV[4])
local known = redis.call('SISMEMBER', PROXIES_ALL, proxy) == 1
local changed
if mark == 'bad' then
  -- Also one that nobody else remembers: uploaded again, it must not come back into service by that.
  redis.call('SADD', PROXIES_ALL, proxy)
  if present(ARGV[3]) then redis.call('HSET', PROXY_ERRORS, proxy, ARGV[3]) end
  changed = redis.call('SADD', PROXIES_BAD, proxy) + redis.call('SREM', PROXIES_DRAINING, proxy)
elseif not known then
  return -2
elseif mark == 'draining' then
  if count_of(PROXY_COUNT, proxy) == 0 then
    forget_proxy(proxy)
    return -2
  end
  changed = redis.call('SADD', PROXIES_DRAINING, proxy)
else
  changed = redis.call('SREM', PROXIES_BAD, proxy) + redis.call('SREM', PROXIES_DRAINING, proxy)
end
place_proxy(proxy, cap)
return changed > 0 and 1 or 0
