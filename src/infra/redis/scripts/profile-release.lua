#!lua flags=allow-oom
-- Gives back the profile that a session without a binding has kept.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 session id, 2 '1' to put the profile aside
-- Result the profile, or nil
-- include: inventory

local session, hold = ARGV[1], ARGV[2] == '1'
local profile = redis.call('HGET', PROFILES_KEPT, session)
if not profile then return nil end
redis.call('HDEL', PROFILES_KEPT, session)
if redis.call('HGET', PROFILE_OWNERS, profile) == session then free_profile(profile, hold) end
return profile
