#!lua flags=allow-oom
-- Ends tasks as sent, wherever they are: in flight, back in the queue, or dead. A repeat changes nothing.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 leases, 4 dead lists, 5 sets of task ids, 6 sets of
--       ended ids; 7 active, 8 ledger
-- ARGV  1 time offset, 2 ms that an ended id is kept, 3 most ended ids kept, then per call: session id, how many
--       tasks, as many pairs of raw string and WhatsApp id or ''
-- Result per call {how many were ended by it, length of the queue} or the text of an error
-- include: outbox
-- include: many

local now, kept_ms, most_kept = now_ms(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function remove_dead(dead, raw)
  for _, entry in ipairs(redis.call('LRANGE', dead, 0, -1)) do
    local ok, buried = pcall(cjson.decode, entry)
    if ok and buried.raw == raw then return redis.call('LREM', dead, 1, entry) end
  end
  return 0
end

local function ack(session, first, count)
  local queue, processing, leases = KEYS[1] .. session, KEYS[2] .. session, KEYS[3] .. session
  local ids, ended = KEYS[5] .. session, KEYS[6] .. session
  local done = 0
  for i = first, first + 2 * count - 2, 2 do
    local raw = ARGV[i]
    local id = task_id(raw)
    local removed = redis.call('LREM', processing, -1, raw)
    -- Late: only what the outbox still knows is worth a search.
    if removed == 0 and (not id or redis.call('SISMEMBER', ids, id) == 1) then
      removed = redis.call('LREM', queue, -1, raw)
      if removed == 0 then removed = remove_dead(KEYS[4] .. session, raw) end
    end
    if removed > 0 then
      done = done + 1
      local lease, field = read_lease(leases, raw)
      redis.call('HDEL', leases, field)
      if id then
        redis.call('SREM', ids, id)
        redis.call('ZADD', ended, whole(now), id)
        say('sent', session, id, whole(lease and lease.deliveries or 0), ARGV[i + 1])
      end
    end
  end
  if done > 0 then
    redis.call('ZREMRANGEBYSCORE', ended, '-inf', '(' .. whole(now - kept_ms))
    redis.call('ZREMRANGEBYRANK', ended, 0, -(most_kept + 1))
    forget_if_empty(KEYS[7], session, queue, processing)
  end
  return { done, redis.call('LLEN', queue) }
end

local results, at = {}, 4
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  results[#results + 1] = served(ack, ARGV[at], at + 2, count)
  at = at + 2 + 2 * count
end
append_said(KEYS[8], now)
return results
