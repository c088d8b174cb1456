#!lua flags=allow-oom
-- Puts the named profiles where they belong: in one of available and used, and in the queue if free.
-- KEYS  as in lib/inventory.lua
-- ARGV  the profiles
-- Result {kind, subject, kind, subject, …} of what was wrong
-- include: inventory

local repairs = {}
local function repaired(kind, subject)
  repairs[#repairs + 1] = kind
  repairs[#repairs + 1] = subject
end

for _, profile in ipairs(ARGV) do
  local available = redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 1
  if available and redis.call('SISMEMBER', PROFILES_USED, profile) == 1 then
    if redis.call('HEXISTS', PROFILE_OWNERS, profile) == 1 then
      redis.call('SREM', PROFILES_AVAILABLE, profile)
      available = false
    else
      redis.call('SREM', PROFILES_USED, profile)
    end
    repaired('profile_place', profile)
  end
  local held = redis.call('SISMEMBER', PROFILES_HELD, profile) == 1
  local queued = redis.call('ZSCORE', PROFILES_ORDER, profile)
  if available and not held and not queued then
    offer_profile(profile)
    repaired('profile_added', profile)
  elseif queued and (held or not available) then
    redis.call('ZREM', PROFILES_ORDER, profile)
    repaired('profile_queue', profile)
  end
  if held and not available then
    redis.call('SREM', PROFILES_HELD, profile)
    repaired('profile_held', profile)
  end
end
return repairs
