#!lua flags=allow-oom
-- Recounts the counters of proxies and phones from the bindings, and puts owners of profiles right. One look at
-- every binding: about 30 ms for 10,000.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 sessions per proxy
-- Result {kind, subject, kind, subject, …} of what was wrong
-- include: inventory

local cap, repairs = tonumber(ARGV[1]), {}
local function repaired(kind, subject)
  repairs[#repairs + 1] = kind
  repairs[#repairs + 1] = subject
end

local proxies, phones, holders = {}, {}, {}
local kept = redis.call('HGETALL', PROFILES_KEPT)
for index = 1, #kept, 2 do holders[kept[index + 1]] = kept[index] end
local bindings = redis.call('HGETALL', BINDINGS)
for index = 1, #bindings, 2 do
  local binding = cjson.decode(bindings[index + 1])
  local phone, proxy, profile = present(binding.phone), present(binding.proxy), present(binding.profile)
  if proxy then proxies[proxy] = (proxies[proxy] or 0) + 1 end
  if phone then phones[phone] = (phones[phone] or 0) + 1 end
  if profile then holders[profile] = bindings[index] end
end

local function recount(hash, actual, kind, after)
  local stored = redis.call('HGETALL', hash)
  local seen = {}
  for index = 1, #stored, 2 do
    local subject = stored[index]
    seen[subject] = true
    local count = actual[subject] or 0
    if tonumber(stored[index + 1]) ~= count then
      if count > 0 then redis.call('HSET', hash, subject, count) else redis.call('HDEL', hash, subject) end
      repaired(kind, subject)
      if after then after(subject) end
    end
  end
  for subject, count in pairs(actual) do
    if not seen[subject] then
      redis.call('HSET', hash, subject, count)
      repaired(kind, subject)
      if after then after(subject) end
    end
  end
end
recount(PROXY_COUNT, proxies, 'proxy_count', function(proxy) place_proxy(proxy, cap) end)
recount(PHONE_COUNT, phones, 'phone_count', nil)

for profile, session in pairs(holders) do
  if redis.call('HGET', PROFILE_OWNERS, profile) ~= session
    or redis.call('SISMEMBER', PROFILES_USED, profile) == 0
    or redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 1 then
    take_profile(profile, session)
    repaired('profile_owner', profile)
  end
end
local owners = redis.call('HGETALL', PROFILE_OWNERS)
for index = 1, #owners, 2 do
  if not holders[owners[index]] then
    free_profile(owners[index], false)
    repaired('profile_owner', owners[index])
  end
end
return repairs
