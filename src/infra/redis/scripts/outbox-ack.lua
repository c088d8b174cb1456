#!lua flags=allow-oom
-- Ends tasks as sent, wherever they are: in flight, back in the queue, or dead. A repeat changes nothing.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 leases, 4 dead lists, 5 sets of task ids, 6 sets of
--       ended ids; 7 active, 8 ledger
-- ARGV  1 time offset, 2 ms that an ended id is kept, 3 most ended ids kept, then per call: session id, how many
--       tasks, as many pairs of raw string and WhatsApp id or ''
-- Result per call {how many were ended by it, length of the queue} or the text of an error
-- include: outbox
-- include: many

local now, most_kept = now_ms(ARGV[1]), tonumber(ARGV[3])
local emptied = {}
local now_text, oldest_text = whole(now), '(' .. whole(now - tonumber(ARGV[2]))

local function remove_dead(dead, raw)
  for _, entry in ipairs(redis.call('LRANGE', dead, 0, -1)) do
    local ok, buried = pcall(cjson.decode, entry)
    if ok and buried.raw == raw then return redis.call('LREM', dead, 1, entry) end
  end
  return 0
end

-- Of a lease, as text; the rest of it does not matter here.
local function deliveries_of(lease)
  return lease and string.match(lease, '^%d+|[^|]*|[^|]*|%d+|(%d+)|') or '0'
end

-- Takes raw strings off the processing list. Most often a worker acknowledges all that it holds: then the list goes.
-- Result per raw string whether it was there
local function take_off(processing, raws)
  local there = {}
  if #raws > 1 then
    local held, count = {}, 0
    for _, raw in ipairs(redis.call('LRANGE', processing, 0, -1)) do
      if held[raw] then -- the same string twice
        count = -1
        break
      end
      held[raw], count = true, count + 1
    end
    for i, raw in ipairs(raws) do
      if held[raw] == true then held[raw], there[i], count = i, true, count - 1 end
    end
    if count == 0 then
      redis.call('DEL', processing)
      return there
    end
  end
  for i, raw in ipairs(raws) do there[i] = redis.call('LREM', processing, -1, raw) > 0 end
  return there
end

-- Late: only what the outbox still knows is worth a search.
local function take_off_late(session, ids, raw, id)
  if id and redis.call('SISMEMBER', ids, id) == 0 then return false end
  return redis.call('LREM', KEYS[1] .. session, -1, raw) > 0 or remove_dead(KEYS[4] .. session, raw) > 0
end

local function ack(session, first, count)
  local queue, processing, leases = KEYS[1] .. session, KEYS[2] .. session, KEYS[3] .. session
  local ids, ended = KEYS[5] .. session, KEYS[6] .. session
  local raws = {}
  for i = 1, count do raws[i] = ARGV[first + 2 * i - 2] end
  local there, done, known, whatsapp_ids = take_off(processing, raws), {}, {}, {}
  for i, raw in ipairs(raws) do
    local id = task_id(raw)
    if there[i] or take_off_late(session, ids, raw, id) then
      done[#done + 1] = raw
      known[#done], whatsapp_ids[#done] = id or false, ARGV[first + 2 * i - 1]
    end
  end
  local queued = redis.call('LLEN', queue)
  if #done == 0 then return { 0, queued } end

  local texts, fields = read_lease_texts(leases, done)
  redis.call('HDEL', leases, unpack(fields))
  local gone, scored = {}, {}
  for i = 1, #done do
    if known[i] then
      gone[#gone + 1] = known[i]
      scored[2 * #gone - 1], scored[2 * #gone] = now_text, known[i]
      say('sent', session, known[i], deliveries_of(texts[i]), whatsapp_ids[i] ~= '' and whatsapp_ids[i] or nil)
    end
  end
  if #gone > 0 then
    redis.call('SREM', ids, unpack(gone))
    redis.call('ZADD', ended, unpack(scored))
    redis.call('ZREMRANGEBYSCORE', ended, '-inf', oldest_text)
    redis.call('ZREMRANGEBYRANK', ended, 0, -(most_kept + 1))
  end
  if queued == 0 and redis.call('EXISTS', processing) == 0 then emptied[#emptied + 1] = session end
  return { #done, queued }
end

local results, at = {}, 4
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  results[#results + 1] = served(ack, ARGV[at], at + 2, count)
  at = at + 2 + 2 * count
end
if #emptied > 0 then redis.call('SREM', KEYS[7], unpack(emptied)) end
append_said(KEYS[8], now)
return results
