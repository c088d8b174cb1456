#!lua flags=allow-oom
-- Does again what SQL knows to have been done to the pools, and this server does not. Call it in order.
-- KEYS  as in lib/inventory.lua, then 19 the ids of the pieces that the pools hold, 20 the marker of the settled server
-- ARGV  1 'profiles', 'proxies' or 'removal', 2 sessions per proxy, 3 run id, 4 id of the piece,
--       5 rows as in lib/inventory-add.lua, or the line of a proxy that was removed,
--       6 JSON: profiles of these that were put aside, 7 JSON: profile → session that keeps it while it is stopped
-- Result how many were added or removed; -1 if the server has been settled meanwhile
-- include: inventory
-- include: inventory-add

if redis.call('GET', KEYS[20]) == ARGV[3] then return -1 end
local kind, cap = ARGV[1], tonumber(ARGV[2])
redis.call('SADD', KEYS[19], ARGV[4])

if kind == 'removal' then
  local proxy = ARGV[5]
  if redis.call('SISMEMBER', PROXIES_ALL, proxy) == 0 then return 0 end
  if count_of(PROXY_COUNT, proxy) == 0 then
    forget_proxy(proxy)
  else
    redis.call('SADD', PROXIES_DRAINING, proxy)
    retire(proxy)
  end
  return 1
end

local add = kind == 'proxies' and add_proxies or add_profiles
local added, _, _, revived = add(cjson.decode(ARGV[5]), cap)
for _, profile in ipairs(cjson.decode(ARGV[6])) do
  if redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 1 then hold_profile(profile) end
end
for profile, session in pairs(cjson.decode(ARGV[7])) do
  if redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 1 and redis.call('HEXISTS', PROFILES_KEPT, session) == 0 then
    take_profile(profile, session)
    redis.call('HSET', PROFILES_KEPT, session, profile)
  end
end
return added + revived
