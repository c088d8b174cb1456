#!lua
-- Queues tasks, those of each session in order, each once: an id that the outbox holds, or that ended lately, is
-- passed over. Refused as a whole when Redis is at its memory limit.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 sets of task ids, 4 sets of ended ids; 5 active, 6 ledger
-- ARGV  1 time offset, then per call: session id, how many tasks, '1' if the ledger knows that they are queued (else
--       ''), as many pairs of task id and raw string
-- Result per call {length of the queue, 1 if a waiting poll may be served, one '0' or '1' (passed over) per task}
--        or the text of an error
-- include: outbox
-- include: many

local now, filled = now_ms(ARGV[1]), {}

local function enqueue(session, first, count, known)
  local queue, ids = KEYS[1] .. session, {}
  for i = first, first + 2 * count - 2, 2 do ids[#ids + 1] = ARGV[i] end
  -- Most often the outbox is empty, and one question tells both.
  local known_lists = redis.call('EXISTS', KEYS[2] .. session, KEYS[3] .. session)
  local idle = known_lists == 0
  local held = idle and {} or redis.call('SMISMEMBER', KEYS[3] .. session, unpack(ids))
  local ended = redis.call('ZMSCORE', KEYS[4] .. session, unpack(ids))
  local seen, marks, new_ids, raws = {}, {}, {}, {}
  for i, id in ipairs(ids) do
    if held[i] == 1 or ended[i] or seen[id] then
      marks[i] = '1'
    else
      seen[id], marks[i] = true, '0'
      new_ids[#new_ids + 1], raws[#raws + 1] = id, ARGV[first + 2 * i - 1]
    end
  end

  local length
  if #raws > 0 then
    length = redis.call('LPUSH', queue, unpack(raws))
    redis.call('SADD', KEYS[3] .. session, unpack(new_ids))
    filled[#filled + 1] = session
    if not known then say('queued', session .. ' ' .. table.concat(new_ids, ' ')) end
  else
    length = redis.call('LLEN', queue)
  end
  idle = idle or (known_lists == 1 and redis.call('EXISTS', KEYS[2] .. session) == 0)
  return { length, (idle and length > 0) and 1 or 0, table.concat(marks) }
end

local results, at = {}, 2
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  results[#results + 1] = served(enqueue, ARGV[at], at + 3, count, ARGV[at + 2] == '1')
  at = at + 3 + 2 * count
end
if #filled > 0 then redis.call('SADD', KEYS[5], unpack(filled)) end
append_said(KEYS[6], now)
return results
