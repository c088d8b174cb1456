#!lua flags=allow-oom
-- Takes a session's binding away: the mirror of allocate.lua. Does nothing twice.
-- KEYS  as in lib/inventory.lua, and as the last one the leader
-- ARGV  1 session id, 2 '1' to keep the profile, 3 '1' to put the profile aside, 4 sessions per proxy,
--       5 fencing number of the lead under which this was planned; empty for none
-- Result the binding JSON that was, or nil
-- Error FENCED: another runner leads by now, and may have started a worker since
-- include: inventory
-- include: lead

if has_lost_lead(KEYS[#KEYS], ARGV[5]) then return redis.error_reply(FENCED) end

local session, keep, hold, proxy_cap = ARGV[1], ARGV[2] == '1', ARGV[3] == '1', tonumber(ARGV[4])

-- What it kept from an earlier stop goes the same way as what it holds now.
local kept = redis.call('HGET', PROFILES_KEPT, session)
if kept and not keep then
  redis.call('HDEL', PROFILES_KEPT, session)
  if redis.call('HGET', PROFILE_OWNERS, kept) == session then free_profile(kept, hold) end
end

local raw = redis.call('HGET', BINDINGS, session)
if not raw then return nil end
redis.call('HDEL', BINDINGS, session)
local binding = cjson.decode(raw)
local phone, proxy, profile = present(binding.phone), present(binding.proxy), present(binding.profile)

if proxy then leave_proxy(proxy, proxy_cap) end
if phone then count_down(PHONE_COUNT, phone) end
if profile then
  if not keep then
    free_profile(profile, hold)
  else
    redis.call('HSET', PROFILES_KEPT, session, profile)
  end
end
return raw
