#!lua flags=allow-oom
-- Cancels the oldest tasks of the queue. What is in flight stays.
-- KEYS  1 queue, 2 processing, 3 leases, 4 task ids, 5 ended, 6 owner, 7 active, 8 ledger
-- ARGV  1 session id, 2 time offset, 3 most tasks (up to 1,000), 4 reason
-- Result how many were cancelled
-- include: outbox

local session, now = ARGV[1], now_ms(ARGV[2])
local raws = redis.call('RPOP', KEYS[1], ARGV[3]) or {}
local ids = {}
for _, raw in ipairs(raws) do
  redis.call('HDEL', KEYS[3], redis.sha1hex(raw))
  local id = task_id(raw)
  if id then
    redis.call('SREM', KEYS[4], id)
    redis.call('ZADD', KEYS[5], whole(now), id)
    ids[#ids + 1] = id
  end
end
if #ids > 0 then record(KEYS[8], 'cancelled', session, table.concat(ids, ' '), now, 'r', ARGV[4]) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HDEL', KEYS[6], 'notBefore') end
forget_if_empty(KEYS[7], session, KEYS[1], KEYS[2])
return #raws
