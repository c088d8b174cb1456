#!lua flags=allow-oom
-- Ends tasks as sent, wherever they are: in flight, back in the queue, or dead. A repeat changes nothing.
-- KEYS  1 queue, 2 processing, 3 leases, 4 dead, 5 task ids, 6 ended, 7 active, 8 ledger
-- ARGV  1 session id, 2 time offset, 3 ms that an ended id is kept, 4 most ended ids kept,
--       then pairs of raw string and WhatsApp id or ''
-- Result {how many were ended by this call, length of the queue}
-- include: outbox

local queue, processing, leases, dead, ended, ledger = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[8]
local session, now = ARGV[1], now_ms(ARGV[2])

local function remove_dead(raw)
  for _, entry in ipairs(redis.call('LRANGE', dead, 0, -1)) do
    local ok, buried = pcall(cjson.decode, entry)
    if ok and buried.raw == raw then return redis.call('LREM', dead, 1, entry) end
  end
  return 0
end

local done = 0
for i = 5, #ARGV, 2 do
  local raw = ARGV[i]
  local id = task_id(raw)
  local removed = redis.call('LREM', processing, -1, raw)
  -- Late: only what the outbox still knows is worth a search.
  if removed == 0 and (not id or redis.call('SISMEMBER', KEYS[5], id) == 1) then
    removed = redis.call('LREM', queue, -1, raw)
    if removed == 0 then removed = remove_dead(raw) end
  end
  if removed > 0 then
    done = done + 1
    local lease, field = read_lease(leases, raw)
    redis.call('HDEL', leases, field)
    if id then
      redis.call('SREM', KEYS[5], id)
      redis.call('ZADD', ended, whole(now), id)
      if ARGV[i + 1] == '' then
        record(ledger, 'sent', session, id, now, 'n', whole(lease and lease.deliveries or 0))
      else
        record(ledger, 'sent', session, id, now, 'n', whole(lease and lease.deliveries or 0), 'w', ARGV[i + 1])
      end
    end
  end
end

if done > 0 then
  redis.call('ZREMRANGEBYSCORE', ended, '-inf', '(' .. whole(now - tonumber(ARGV[3])))
  redis.call('ZREMRANGEBYRANK', ended, 0, -(tonumber(ARGV[4]) + 1))
  forget_if_empty(KEYS[7], session, queue, processing)
end
return { done, redis.call('LLEN', queue) }
