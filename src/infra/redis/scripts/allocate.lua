#!lua flags=allow-oom
-- Binds a session, or returns the binding that it has.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 session id, 2 phone or '', 3 profile or '', 4 pinned proxy or '', 5 '1' for no proxy,
--       6 sessions per proxy, 7 sessions per phone
-- Result {'bound'|'created', binding JSON} or {'refused', code}. Nothing is bound, counted or taken on a refusal.
-- include: inventory

local session, phone, profile, pinned = ARGV[1], present(ARGV[2]), present(ARGV[3]), present(ARGV[4])
local direct, proxy_cap, phone_cap = ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])

local existing = redis.call('HGET', BINDINGS, session)
if existing then return { 'bound', existing } end

if phone and count_of(PHONE_COUNT, phone) >= phone_cap then return { 'refused', 'phone_cap_reached' } end

if profile and redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 0 then
  local owner = redis.call('HGET', PROFILE_OWNERS, profile)
  local used = redis.call('SISMEMBER', PROFILES_USED, profile) == 1
  if not used then return { 'refused', 'no_profile_available' } end
  if owner ~= session then return { 'refused', 'profile_in_use' } end
end

local function has_room(proxy)
  return proxy and in_service(proxy) and count_of(PROXY_COUNT, proxy) < proxy_cap
end

-- The lowest score that tells the truth. Members and scores that somebody changed from outside are put right on
-- the way, a bounded number of them; the reconcile pass does the rest.
local function least_loaded()
  for _ = 1, 100 do
    local lowest = redis.call('ZRANGE', PROXIES_BY_LOAD, 0, 0, 'WITHSCORES')
    local candidate = lowest[1]
    if not candidate then break end
    if redis.call('SISMEMBER', PROXIES_AVAILABLE, candidate) == 0 then
      redis.call('ZREM', PROXIES_BY_LOAD, candidate)
    elseif not has_room(candidate) then
      retire(candidate)
    elseif tonumber(lowest[2]) ~= count_of(PROXY_COUNT, candidate) then
      redis.call('ZADD', PROXIES_BY_LOAD, count_of(PROXY_COUNT, candidate), candidate)
    else
      return candidate
    end
  end
  -- Added to proxies:available by another program, and not yet seen by a reconcile pass.
  for _ = 1, 5 do
    local candidate = redis.call('SRANDMEMBER', PROXIES_AVAILABLE)
    if not candidate then return nil end
    if has_room(candidate) then return candidate end
    retire(candidate)
  end
  return nil
end

local proxy = nil
if not direct then
  local sticky = phone and redis.call('HGET', STICKY, phone)
  if has_room(pinned) then
    proxy = pinned
  elseif sticky and has_room(sticky) then
    proxy = sticky
  else
    proxy = least_loaded()
  end
  if not proxy then return { 'refused', 'no_proxy_available' } end
end

if proxy then
  redis.call('HINCRBY', PROXY_COUNT, proxy, 1)
  place_proxy(proxy, proxy_cap)
end
if phone then
  redis.call('HINCRBY', PHONE_COUNT, phone, 1)
  if proxy then redis.call('HSET', STICKY, phone, proxy) end
end
if profile then
  take_profile(profile, session)
  if redis.call('HGET', PROFILES_KEPT, session) == profile then redis.call('HDEL', PROFILES_KEPT, session) end
end
local binding = encode_binding(phone, proxy, profile)
redis.call('HSET', BINDINGS, session, binding)
return { 'created', binding }
