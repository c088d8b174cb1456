#!lua flags=allow-oom
-- Drops entries of the profile index whose profile is gone, and adds those that are missing.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 'drop' or 'add', then id, profile, id, profile, …
-- Result how many entries changed
-- include: inventory

local changed = 0
for index = 2, #ARGV, 2 do
  local id, profile = ARGV[index], ARGV[index + 1]
  if ARGV[1] == 'add' then
    changed = changed + redis.call('HSETNX', PROFILE_INDEX, id, profile)
  elseif redis.call('SISMEMBER', PROFILES_AVAILABLE, profile) == 0
    and redis.call('SISMEMBER', PROFILES_USED, profile) == 0
    and redis.call('HGET', PROFILE_INDEX, id) == profile then
    changed = changed + redis.call('HDEL', PROFILE_INDEX, id)
  end
end
return changed
