#!lua flags=allow-oom
-- A bound session has learned its phone.
-- KEYS  as in lib/inventory.lua
-- ARGV  1 session id, 2 phone, 3 sessions per phone
-- Result 'assigned', 'unchanged', 'phone_cap_reached' or 'not_bound'
-- include: inventory

local session, phone, phone_cap = ARGV[1], ARGV[2], tonumber(ARGV[3])
local raw = redis.call('HGET', BINDINGS, session)
if not raw then return 'not_bound' end
local binding = cjson.decode(raw)
local before, proxy = present(binding.phone), present(binding.proxy)
if before == phone then return 'unchanged' end
if count_of(PHONE_COUNT, phone) >= phone_cap then return 'phone_cap_reached' end
if before then count_down(PHONE_COUNT, before) end
redis.call('HINCRBY', PHONE_COUNT, phone, 1)
if proxy then redis.call('HSET', STICKY, phone, proxy) end
redis.call('HSET', BINDINGS, session, encode_binding(phone, proxy, present(binding.profile)))
return 'assigned'
