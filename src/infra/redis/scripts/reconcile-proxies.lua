#!lua flags=allow-oom
-- Puts the named proxies where they belong. Every place that names a proxy hands its members to this script.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 sessions per proxy, then the proxies
-- Result {kind, subject, kind, subject, …} of what was wrong
-- include: inventory

local cap, repairs = tonumber(ARGV[1]), {}
local function repaired(kind, subject)
  repairs[#repairs + 1] = kind
  repairs[#repairs + 1] = subject
end

for index = 2, #ARGV do
  local proxy = ARGV[index]
  if redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0 then
    if redis.call('SISMEMBER', PROXIES_AVAILABLE, proxy) == 1 then
      -- Another program has added it to the one set that it knew of.
      redis.call('SADD', PROXIES_ALL, proxy)
      repaired('proxy_added', proxy)
    else
      local removed = redis.call('SREM', PROXIES_BAD, proxy) + redis.call('SREM', PROXIES_DRAINING, proxy)
      if removed + retire(proxy) > 0 then repaired('proxy_removed', proxy) end
    end
  end
  -- In no other place yet: another program has added it.
  local fresh = redis.call('SISMEMBER', PROXIES_AVAILABLE, proxy) == 0
    and not redis.call('ZSCORE', PROXIES_BY_LOAD, proxy) and count_of(PROXY_COUNT, proxy) == 0
  if redis.call('SISMEMBER', PROXIES_DRAINING, proxy) == 1 and count_of(PROXY_COUNT, proxy) == 0 then
    forget_proxy(proxy)
    repaired('proxy_drained', proxy)
  elseif place_proxy(proxy, cap) then
    repaired(fresh and 'proxy_added' or 'proxy_place', proxy)
  end
end
return repairs
