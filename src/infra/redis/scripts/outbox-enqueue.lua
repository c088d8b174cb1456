#!lua
-- Queues tasks, those of each session in order, each once: an id that the outbox holds, or that ended lately, is
-- passed over. Refused as a whole when Redis is at its memory limit.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 sets of task ids, 4 sets of ended ids; 5 active, 6 ledger
-- ARGV  1 time offset, then per call: session id, how many tasks, '1' if the ledger knows that they are queued (else
--       ''), their ids, their raw strings
-- Result per call {length of the queue, 1 if a waiting poll may be served, one '0' or '1' (passed over) per task, or
--        '' if none was passed over} or the text of an error
-- include: outbox
-- include: many

local now, filled = now_ms(ARGV[1]), {}
local seen, turn = {}, 0 -- id to the last turn it was seen in: one table for all sessions

-- Which of them are to be passed over, as places; nil if none, which is nearly always.
-- held, ended: what the sets say of each
local function passed_over(first, count, held, ended)
  local passed
  turn = turn + 1
  for i = 1, count do
    local id = ARGV[first + i - 1]
    if held[i] == 1 or ended[i] or seen[id] == turn then
      passed = passed or {}
      passed[i] = true
    end
    seen[id] = turn
  end
  return passed
end

-- Without those that are passed over.
-- Result ids, raw strings, a mark for each
local function sift(first, count, passed)
  local ids, raws, marks = {}, {}, {}
  for i = 1, count do
    marks[i] = passed[i] and '1' or '0'
    if not passed[i] then ids[#ids + 1], raws[#raws + 1] = ARGV[first + i - 1], ARGV[first + count + i - 1] end
  end
  return ids, raws, table.concat(marks)
end

local function enqueue(session, first, count, known)
  local queue, ids_key, last = KEYS[1] .. session, KEYS[3] .. session, first + count - 1
  -- Most often the outbox is empty, and one question tells both.
  local known_lists = redis.call('EXISTS', KEYS[2] .. session, ids_key)
  local idle = known_lists == 0
  local held = idle and {} or redis.call('SMISMEMBER', ids_key, unpack(ARGV, first, last))
  local ended = redis.call('ZMSCORE', KEYS[4] .. session, unpack(ARGV, first, last))
  local passed = passed_over(first, count, held, ended)

  local length, marks, words = nil, '', nil
  if not passed then
    length = redis.call('LPUSH', queue, unpack(ARGV, last + 1, last + count))
    redis.call('SADD', ids_key, unpack(ARGV, first, last))
    words = not known and table.concat(ARGV, ' ', first, last)
  else
    local ids, raws
    ids, raws, marks = sift(first, count, passed)
    if #raws > 0 then
      length = redis.call('LPUSH', queue, unpack(raws))
      redis.call('SADD', ids_key, unpack(ids))
      words = not known and table.concat(ids, ' ')
    end
  end
  if length then
    filled[#filled + 1] = session
    if words then say('queued', session .. ' ' .. words) end
  else
    length = redis.call('LLEN', queue)
  end
  idle = idle or (known_lists == 1 and redis.call('EXISTS', KEYS[2] .. session) == 0)
  return { length, (idle and length > 0) and 1 or 0, marks }
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
