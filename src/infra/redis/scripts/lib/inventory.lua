-- KEYS of every inventory script, in this order (infra/redis/inventory-keys.ts).
local PROXIES_ALL, PROXIES_AVAILABLE, PROXIES_BAD, PROXIES_DRAINING, PROXIES_BY_LOAD, PROXY_COUNT, PROXY_ERRORS,
  BINDINGS, STICKY, PHONE_COUNT, PROFILES_AVAILABLE, PROFILES_USED, PROFILE_OWNERS, PROFILES_HELD, PROFILES_ORDER,
  PROFILES_KEPT, PROFILE_INDEX, PROFILE_SEQUENCE = unpack(KEYS)

local function count_of(hash, field)
  return tonumber(redis.call('HGET', hash, field) or '0') or 0
end

-- One down; a counter never stays at 0 and never goes below.
local function count_down(hash, field)
  local count = count_of(hash, field) - 1
  if count > 0 then
    redis.call('HSET', hash, field, count)
  else
    redis.call('HDEL', hash, field)
  end
end

-- A field of a binding, nil when it is null or missing.
local function present(value)
  if value == nil or value == cjson.null or value == '' then return nil end
  return value
end

local function encode_binding(phone, proxy, profile)
  return cjson.encode({ phone = phone or cjson.null, proxy = proxy or cjson.null, profile = profile or cjson.null })
end

local function in_service(proxy)
  return redis.call('SISMEMBER', PROXIES_ALL, proxy) == 1
    and redis.call('SISMEMBER', PROXIES_BAD, proxy) == 0
    and redis.call('SISMEMBER', PROXIES_DRAINING, proxy) == 0
end

local function retire(proxy)
  local removed = redis.call('SREM', PROXIES_AVAILABLE, proxy)
  return removed + redis.call('ZREM', PROXIES_BY_LOAD, proxy)
end

-- The one place that decides whether a proxy is available: in service and under its cap. Says whether it moved.
local function place_proxy(proxy, cap)
  local load = count_of(PROXY_COUNT, proxy)
  if in_service(proxy) and load < cap then
    local added = redis.call('SADD', PROXIES_AVAILABLE, proxy)
    return added + redis.call('ZADD', PROXIES_BY_LOAD, 'CH', load, proxy) > 0
  end
  return retire(proxy) > 0
end

local function forget_proxy(proxy)
  retire(proxy)
  redis.call('SREM', PROXIES_ALL, proxy)
  redis.call('SREM', PROXIES_BAD, proxy)
  redis.call('SREM', PROXIES_DRAINING, proxy)
  redis.call('HDEL', PROXY_ERRORS, proxy)
end

-- A session has left the proxy.
local function leave_proxy(proxy, cap)
  count_down(PROXY_COUNT, proxy)
  if redis.call('SISMEMBER', PROXIES_DRAINING, proxy) == 1 and count_of(PROXY_COUNT, proxy) == 0 then
    forget_proxy(proxy)
  else
    place_proxy(proxy, cap)
  end
end

-- Offers an available profile, at the end of the queue.
local function offer_profile(profile)
  redis.call('SREM', PROFILES_HELD, profile)
  redis.call('ZADD', PROFILES_ORDER, 'NX', redis.call('INCR', PROFILE_SEQUENCE), profile)
end

local function hold_profile(profile)
  redis.call('SADD', PROFILES_HELD, profile)
  redis.call('ZREM', PROFILES_ORDER, profile)
end

local function take_profile(profile, session)
  redis.call('SREM', PROFILES_AVAILABLE, profile)
  redis.call('ZREM', PROFILES_ORDER, profile)
  redis.call('SREM', PROFILES_HELD, profile)
  redis.call('SADD', PROFILES_USED, profile)
  redis.call('HSET', PROFILE_OWNERS, profile, session)
end

-- Back from used to available. One that somebody has removed from used by hand stays away.
local function free_profile(profile, hold)
  redis.call('HDEL', PROFILE_OWNERS, profile)
  if redis.call('SREM', PROFILES_USED, profile) == 0 then return end
  redis.call('SADD', PROFILES_AVAILABLE, profile)
  if hold then hold_profile(profile) else offer_profile(profile) end
end
