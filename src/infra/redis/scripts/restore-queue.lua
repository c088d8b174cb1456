#!lua flags=allow-oom
-- Makes the list beside a queue the queue, if nobody has touched the queue since it was read.
-- KEYS  1 queue, 2 list beside it, 3 processing, 4 leases, 5 task ids, 6 ended, 7 active, 8 marker of the settled server,
--       9 owner
-- ARGV  1 session id, 2 time offset, 3 run id, 4 length of the queue when it was read, 5 its newest entry or '',
--       6 how many raw strings follow that stay behind the others, those, then triples of task id, raw string and
--       '1' if it has an end ('': it waits in SQL) of what has no place in the outbox any more
-- Result 1, 0 if the queue has changed, -1 if the server has been settled meanwhile
-- include: outbox
-- include: outbox-flight

if redis.call('GET', KEYS[8]) == ARGV[3] then return -1 end
local queue, now = KEYS[1], now_ms(ARGV[2])
if redis.call('LLEN', queue) ~= tonumber(ARGV[4]) or (redis.call('LINDEX', queue, 0) or '') ~= ARGV[5] then
  return 0
end
spread_flight(KEYS[9], KEYS[3], KEYS[4])
local stay = tonumber(ARGV[6])
for i = 7, 6 + stay do redis.call('LPUSH', KEYS[2], ARGV[i]) end
for i = 7 + stay, #ARGV, 3 do
  local id, raw = ARGV[i], ARGV[i + 1]
  redis.call('LREM', KEYS[3], -1, raw)
  redis.call('HDEL', KEYS[4], redis.sha1hex(raw))
  redis.call('SREM', KEYS[5], id)
  if ARGV[i + 2] == '1' then redis.call('ZADD', KEYS[6], whole(now), id) end
end
redis.call('DEL', queue)
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], queue) end
if redis.call('EXISTS', queue, KEYS[3]) > 0 then redis.call('SADD', KEYS[7], ARGV[1]) end
forget_if_empty(KEYS[7], ARGV[1], queue, KEYS[3])
return 1
