#!lua
-- Queues tasks in order, each once: an id that the outbox holds, or that ended lately, is passed over.
-- Refused as a whole when Redis is at its memory limit.
-- KEYS  1 queue, 2 processing, 3 task ids, 4 ended, 5 active, 6 ledger
-- ARGV  1 session id, 2 time offset, then pairs of task id and raw string (at most 1,000)
-- Result {length of the queue, 1 if a waiting poll may be served, one '0' or '1' (passed over) per task}
-- include: outbox

local session, now = ARGV[1], now_ms(ARGV[2])
local ids = {}
for i = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end

local held = redis.call('SMISMEMBER', KEYS[3], unpack(ids))
local ended = redis.call('ZMSCORE', KEYS[4], unpack(ids))
local seen, marks, new_ids, raws = {}, {}, {}, {}
for i, id in ipairs(ids) do
  if held[i] == 1 or ended[i] or seen[id] then
    marks[i] = '1'
  else
    seen[id], marks[i] = true, '0'
    new_ids[#new_ids + 1], raws[#raws + 1] = id, ARGV[2 * i + 2]
  end
end

local length
if #raws > 0 then
  redis.call('SADD', KEYS[3], unpack(new_ids))
  length = redis.call('LPUSH', KEYS[1], unpack(raws))
  redis.call('SADD', KEYS[5], session)
  record(KEYS[6], 'queued', session, table.concat(new_ids, ' '), now)
else
  length = redis.call('LLEN', KEYS[1])
end
local idle = redis.call('EXISTS', KEYS[2]) == 0
return { length, (idle and length > 0) and 1 or 0, table.concat(marks) }
