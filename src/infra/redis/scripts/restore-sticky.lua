#!lua flags=allow-oom
-- Which proxy phones had last, as SQL knows it. To be done after the pools.
-- KEYS  as in lib/inventory.lua, then the marker of the settled server
-- ARGV  1 run id, then pairs of phone and proxy (at most 500)
-- Result how many were changed; -1 if the server has been settled meanwhile
-- include: inventory

if redis.call('GET', KEYS[#KEYS]) == ARGV[1] then return -1 end
local changed = 0
for i = 2, #ARGV, 2 do
  local phone, proxy = ARGV[i], ARGV[i + 1]
  local gone = redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0
  if not gone and redis.call('HGET', STICKY, phone) ~= proxy then
    redis.call('HSET', STICKY, phone, proxy)
    changed = changed + 1
  end
end
return changed
