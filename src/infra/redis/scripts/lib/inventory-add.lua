-- Adds rows, [[line number, line, …], …], to the pools: after the line comes for a profile its id (if the line is
-- JSON), for a proxy its other spellings. Needs lib/inventory.lua before it.
-- Both give how many were new, how many not, the numbers of lines whose id belongs to another profile, and how many
-- of those that were not new have come back into service.
-- Commands are given many members at once: one call for each would cost four times as much.
local SLICE = 4000 -- what unpack may put on Lua's stack

local function each_slice(list, act)
  for from = 1, #list, SLICE do act(unpack(list, from, math.min(from + SLICE - 1, #list))) end
end

-- The answers of a command that answers member by member.
local function answers(command, key, list)
  local result = {}
  each_slice(list, function(...)
    for _, answer in ipairs(redis.call(command, key, ...)) do result[#result + 1] = answer end
  end)
  return result
end

local function change(command, key, list)
  each_slice(list, function(...) redis.call(command, key, ...) end)
end

local function add_proxies(rows, cap)
  local spellings = {}
  for _, row in ipairs(rows) do
    for column = 2, #row do spellings[#spellings + 1] = row[column] end
  end
  local known = answers('SMISMEMBER', PROXIES_ALL, spellings)
  local draining = redis.call('SCARD', PROXIES_DRAINING) > 0
  local fresh, new, duplicates, revived, at = {}, {}, 0, 0, 0
  for _, row in ipairs(rows) do
    local proxy, seen = row[2], false
    for column = 2, #row do
      at = at + 1
      seen = seen or known[at] == 1 or fresh[row[column]]
    end
    if seen then
      duplicates = duplicates + 1
      -- Uploaded again, it is wanted again: but only a person's `restore` makes a bad one good.
      if draining and redis.call('SREM', PROXIES_DRAINING, proxy) == 1 then
        place_proxy(proxy, cap)
        revived = revived + 1
      end
    else
      fresh[proxy] = true
      new[#new + 1] = proxy
    end
  end
  change('SADD', PROXIES_ALL, new)
  -- New to the pool, and yet with a load: somebody has removed it by hand under its sessions.
  local free, ranked = {}, {}
  for index, load in ipairs(answers('HMGET', PROXY_COUNT, new)) do
    load = tonumber(load or '0')
    if load < cap then
      free[#free + 1] = new[index]
      ranked[#ranked + 1] = load
      ranked[#ranked + 1] = new[index]
    end
  end
  change('SADD', PROXIES_AVAILABLE, free)
  change('ZADD', PROXIES_BY_LOAD, ranked)
  return #new, duplicates, {}, revived
end

local function in_pool(profile)
  return redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 1
    or redis.call('SISMEMBER', PROFILES_USED, profile) == 1
end

local function add_profiles(rows)
  local profiles, ids = {}, {}
  for index, row in ipairs(rows) do
    profiles[index] = row[2]
    ids[index] = row[3] or ''
  end
  local available = answers('SMISMEMBER', PROFILES_AVAILABLE, profiles)
  local used = answers('SMISMEMBER', PROFILES_USED, profiles)
  local named = answers('HMGET', PROFILE_INDEX, ids)
  local held = redis.call('SCARD', PROFILES_HELD) > 0
  local fresh, owner, new, index_pairs, duplicates, clashes, revived = {}, {}, {}, {}, 0, {}, 0
  for index, row in ipairs(rows) do
    local profile, id = row[2], row[3]
    local other = id and (owner[id] or named[index])
    if available[index] == 1 or used[index] == 1 or fresh[profile] then
      duplicates = duplicates + 1
      if held and redis.call('SISMEMBER', PROFILES_HELD, profile) == 1 then
        offer_profile(profile)
        revived = revived + 1
      end
    elseif other and other ~= profile and (fresh[other] or in_pool(other)) then
      clashes[#clashes + 1] = row[1]
    else
      fresh[profile] = true
      new[#new + 1] = profile
      if id then
        owner[id] = profile
        index_pairs[#index_pairs + 1] = id
        index_pairs[#index_pairs + 1] = profile
      end
    end
  end
  local place = redis.call('INCRBY', PROFILE_SEQUENCE, #new) - #new
  local queued = {}
  for index, profile in ipairs(new) do
    queued[#queued + 1] = place + index
    queued[#queued + 1] = profile
  end
  change('SADD', PROFILES_AVAILABLE, new)
  change('ZADD', PROFILES_ORDER, queued)
  change('HSET', PROFILE_INDEX, index_pairs)
  return #new, duplicates, clashes, revived
end
