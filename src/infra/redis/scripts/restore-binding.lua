#!lua flags=allow-oom
-- A binding as SQL knows it, in the place of whatever Redis says: none, or one of an earlier time.
-- KEYS  as in lib/inventory.lua, then the marker of the settled server
-- ARGV  1 session id, 2 phone or '', 3 proxy or '', 4 profile or '', 5 sessions per proxy, 6 '' to only take away,
--       7 run id
-- Result 1 if something was changed, -1 if the server has been settled meanwhile
-- include: inventory

if redis.call('GET', KEYS[#KEYS]) == ARGV[7] then return -1 end
local session, cap = ARGV[1], tonumber(ARGV[5])
local phone, proxy, profile = present(ARGV[2]), present(ARGV[3]), present(ARGV[4])
local raw = redis.call('HGET', BINDINGS, session)
if raw then
  local old = cjson.decode(raw)
  local old_phone, old_proxy, old_profile = present(old.phone), present(old.proxy), present(old.profile)
  if ARGV[6] ~= '' and old_phone == phone and old_proxy == proxy and old_profile == profile then return 0 end
  redis.call('HDEL', BINDINGS, session)
  if old_proxy then leave_proxy(old_proxy, cap) end
  if old_phone then count_down(PHONE_COUNT, old_phone) end
  if old_profile then redis.call('HSET', PROFILES_KEPT, session, old_profile) end
elseif ARGV[6] == '' then
  return 0
end
if ARGV[6] == '' then return 1 end

if proxy then
  -- Its session runs on it: it is in service, whatever has been forgotten about it.
  redis.call('SADD', PROXIES_ALL, proxy)
  redis.call('HINCRBY', PROXY_COUNT, proxy, 1)
  place_proxy(proxy, cap)
end
if phone then
  redis.call('HINCRBY', PHONE_COUNT, phone, 1)
  if proxy then redis.call('HSET', STICKY, phone, proxy) end
end
if profile then
  take_profile(profile, session)
  if redis.call('HGET', PROFILES_KEPT, session) == profile then redis.call('HDEL', PROFILES_KEPT, session) end
end
redis.call('HSET', BINDINGS, session, encode_binding(phone, proxy, profile))
return 1
