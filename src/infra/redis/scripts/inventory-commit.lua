-- Moves the next entries of a complete upload from its staging list into the pool.
-- KEYS  as in lib/inventory.lua, then the staging list
-- ARGV  1 'profiles' or 'proxies', 2 how many entries, 3 sessions per proxy
-- An entry is its fields divided by line feeds: line number, line; then for a profile its id (if the line is
-- JSON), for a proxy its other spellings.
-- Result {entries left, added, duplicates, number of a line whose id belongs to another profile, …}
-- include: inventory

local staging, kind, chunk, cap = KEYS[19], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local added, duplicates, clashes = 0, 0, {}

local function fields_of(entry)
  local fields = {}
  for field in string.gmatch(entry, '[^\n]+') do fields[#fields + 1] = field end
  return fields
end

local function add_proxy(fields)
  local proxy = fields[2]
  local known = redis.call('SMISMEMBER', PROXIES_ALL, unpack(fields, 2))
  if known[1] == 1 then
    duplicates = duplicates + 1
    -- Uploaded again, it is wanted again: but only a person's `restore` makes a bad one good.
    if redis.call('SREM', PROXIES_DRAINING, proxy) == 1 then place_proxy(proxy, cap) end
    return
  end
  for index = 2, #known do
    if known[index] == 1 then
      duplicates = duplicates + 1
      return
    end
  end
  redis.call('SADD', PROXIES_ALL, proxy)
  local load = count_of(PROXY_COUNT, proxy)
  if load < cap then
    redis.call('SADD', PROXIES_AVAILABLE, proxy)
    redis.call('ZADD', PROXIES_BY_LOAD, load, proxy)
  end
  added = added + 1
end

local function in_pool(profile)
  return redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 1
    or redis.call('SISMEMBER', PROFILES_USED, profile) == 1
end

local function add_profile(fields)
  local number, profile, id = fields[1], fields[2], fields[3]
  if in_pool(profile) then
    duplicates = duplicates + 1
    if redis.call('SISMEMBER', PROFILES_HELD, profile) == 1 then offer_profile(profile) end
    return
  end
  if id then
    local other = redis.call('HGET', PROFILE_INDEX, id)
    if other and other ~= profile and in_pool(other) then
      clashes[#clashes + 1] = number
      return
    end
    redis.call('HSET', PROFILE_INDEX, id, profile)
  end
  redis.call('SADD', PROFILES_AVAILABLE, profile)
  offer_profile(profile)
  added = added + 1
end

for _, entry in ipairs(redis.call('LRANGE', staging, 0, chunk - 1)) do
  local fields = fields_of(entry)
  if kind == 'proxies' then add_proxy(fields) else add_profile(fields) end
end
redis.call('LTRIM', staging, chunk, -1)
return { redis.call('LLEN', staging), added, duplicates, unpack(clashes) }
