#!lua flags=allow-oom
-- Where a task stands, for people who ask why it has not gone out.
-- KEYS  1 queue, 2 processing, 3 leases, 4 owner
-- ARGV  1 time offset, 2 raw string
-- Result {'processing' | 'queue' | 'absent', tasks ahead, ms left of its lease or of the one in force (0: none),
--         ms until notBefore (0: none), ms since a worker last asked (-1: never), tasks in flight}
-- include: outbox
-- include: outbox-flight

local now, raw = now_ms(ARGV[1]), ARGV[2]
local place, ahead, left = 'absent', 0, 0
spread_flight(KEYS[4], KEYS[2], KEYS[3])
local flying = redis.call('LRANGE', KEYS[2], 0, -1)
for _, entry in ipairs(flying) do
  if entry == raw then place = 'processing' end
  local lease = read_lease(KEYS[3], entry)
  if lease then left = math.max(left, lease.deadline - now) end
end
if place == 'absent' then
  local at = redis.call('LPOS', KEYS[1], raw, 'RANK', -1)
  if at then place, ahead = 'queue', redis.call('LLEN', KEYS[1]) - 1 - at end
end
local owner = redis.call('HMGET', KEYS[4], 'notBefore', 'seenAt')
local wait = math.max(tonumber(owner[1] or '0') - now, 0)
return { place, ahead, left, wait, owner[2] and now - tonumber(owner[2]) or -1, #flying }
