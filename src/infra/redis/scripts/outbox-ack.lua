#!lua flags=allow-oom
-- Ends tasks as sent, wherever they are: in flight, back in the queue, or dead. A repeat changes nothing.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 leases, 4 dead lists, 5 sets of task ids, 6 sets of
--       ended ids, 7 owners; 8 ledger
-- ARGV  1 time offset, 2 ms that an ended id is kept, 3 most ended ids kept, then per call: session id, how many
--       tasks, how many WhatsApp ids (as many, or none), the raw strings, the WhatsApp ids (or '')
-- Result per call {how many were ended by it, length of the queue} or the text of an error
-- include: outbox
-- include: outbox-flight
-- include: many

local now, most_kept = now_ms(ARGV[1]), tonumber(ARGV[3])
local now_text, oldest_text = whole(now), '(' .. whole(now - tonumber(ARGV[2]))
-- Ended ids are trimmed so far that they stay below the most until so many tasks later.
local trimmed_every = math.max(math.floor(most_kept / 16), 1)
local surplus_text = whole(trimmed_every - most_kept - 2)

-- From so many tasks on, an entry of the ledger of their own costs less than a word about each.
local MANY = 8
local scored, one_more = {}, {} -- made once for all sessions: pairs of score and id; numbers as text

-- first, tasks: of the one lease of all that has ended; without one nobody knows when it was last.
local function has_to_trim(first, tasks)
  return not first or math.floor(first / trimmed_every) < math.floor((first + tasks) / trimmed_every)
end

local function remove_dead(dead, raw)
  for _, entry in ipairs(redis.call('LRANGE', dead, '0', '-1')) do
    local ok, buried = pcall(cjson.decode, entry)
    if ok and buried.raw == raw then return redis.call('LREM', dead, 1, entry) end
  end
  return 0
end

-- Of a lease, as text; the rest of it does not matter here.
local function deliveries_of(lease)
  return lease and match(lease, '^%d+|[^|]*|[^|]*|%d+|(%d+)|') or '0'
end

local function are_same(these, those)
  local count = #those
  if #these ~= count then return false end
  for i = 1, count do
    if these[i] ~= those[i] then return false end
  end
  return true
end

-- Which of the raw strings are among those in flight, and how many of those are others; nil if a string is there twice.
local function compare(flying, raws)
  if are_same(flying, raws) then return raws, 0 end -- nearly always
  local there, held, others = {}, {}, #flying
  for _, raw in ipairs(flying) do
    if held[raw] then return there, nil end
    held[raw] = true
  end
  for i, raw in ipairs(raws) do
    if held[raw] then held[raw], there[i], others = false, true, others - 1 end
  end
  return there, others
end

-- Takes raw strings off the processing list. Most often a worker acknowledges all of a claim: then one command takes
-- them, and the list goes. The owner's lease of the whole claim stays: without a list it means nothing, and the next
-- claim writes it anew.
-- Result per raw string whether it was there; if one lease has stood for them all, its first sequence and its tasks
local function take_off(session, raws)
  local owner, processing, count = KEYS[7] .. session, KEYS[2] .. session, #raws
  local tasks, first = match(redis.call('HGET', owner, 'flight') or '', '^%d+|%d+|(%d+)|(%d+)$')
  if tasks and tonumber(tasks) == count then
    one_more[count] = one_more[count] or whole(count + 1) -- which shows that there are others
    local flying = redis.call('RPOP', processing, one_more[count])
    if not flying then return {}, nil end
    local there, others = compare(flying, raws)
    if others == 0 then return there, tonumber(first), count end
    for i = #flying, 1, -1 do redis.call('RPUSH', processing, flying[i]) end
  end
  local there, others = compare(redis.call('LRANGE', processing, '0', '-1'), raws)
  if others and not next(there) then return there, nil end -- all of them are late
  if others == 0 then
    redis.call('DEL', processing)
  else
    spread_flight(owner, processing, KEYS[3] .. session)
    for i, raw in ipairs(raws) do there[i] = redis.call('LREM', processing, '-1', raw) > 0 end
  end
  return there, nil
end

-- Late: only what the outbox still knows is worth a search.
local function take_off_late(session, ids, raw, id)
  if id and redis.call('SISMEMBER', ids, id) == 0 then return false end
  return redis.call('LREM', KEYS[1] .. session, '-1', raw) > 0 or remove_dead(KEYS[4] .. session, raw) > 0
end

-- Nil if one of these might not be a task of ours.
local function likely_ids(raws)
  local ids = {}
  for i = 1, #raws do
    local id = likely_id(raws[i])
    if not id then return nil end
    ids[i] = id
  end
  return ids
end

-- Tells the ledger, and remembers the ids for a while.
-- deliveries: of each; none: one of each. whatsapp_ids: of each, or ''; or none. first, tasks: as of `take_off`
local function record_sent(session, ids, deliveries, whatsapp_ids, first, tasks)
  local ended = KEYS[6] .. session
  if #ids >= MANY and not deliveries and not whatsapp_ids then
    record(KEYS[8], 'sent', session, table.concat(ids, ' '), now, 'n', '1')
  else
    for i = 1, #ids do
      local words = session .. ' ' .. ids[i] .. ' ' .. (deliveries and deliveries[i] or '1')
      if whatsapp_ids and whatsapp_ids[i] ~= '' then words = words .. ' ' .. whatsapp_ids[i] end
      say('sent', words)
    end
  end
  for i = 1, #ids do scored[2 * i - 1], scored[2 * i] = now_text, ids[i] end
  redis.call('ZADD', ended, unpack(scored, 1, 2 * #ids))
  if has_to_trim(first, tasks) then
    redis.call('ZREMRANGEBYSCORE', ended, '-inf', oldest_text)
    redis.call('ZREMRANGEBYRANK', ended, '0', surplus_text)
  end
end

-- Some of them may be late, unknown, or somebody else's.
-- Result how many have ended
local function end_each(session, raws, there, whatsapp_ids, first, tasks)
  local leases, ids = KEYS[3] .. session, KEYS[5] .. session
  local done, gone, gone_at, gone_whatsapp = {}, {}, {}, whatsapp_ids and {}
  for i, raw in ipairs(raws) do
    local id = task_id(raw)
    first = there[i] and first
    if there[i] or take_off_late(session, ids, raw, id) then
      done[#done + 1] = raw
      if id then
        gone[#gone + 1], gone_at[#gone + 1] = id, #done
        if whatsapp_ids then gone_whatsapp[#gone] = whatsapp_ids[i] end
      end
    end
  end
  if #done == 0 then return 0 end
  local deliveries
  if not first then
    deliveries = {}
    local texts, fields = read_lease_texts(leases, done)
    redis.call('HDEL', leases, unpack(fields))
    for i, at in ipairs(gone_at) do deliveries[i] = deliveries_of(texts[at]) end
  end
  if #gone > 0 then
    redis.call('SREM', ids, unpack(gone))
    record_sent(session, gone, deliveries, gone_whatsapp, first, tasks)
  end
  return #done
end

local function ack(session, first, count, named)
  local raws = { unpack(ARGV, first, first + count - 1) }
  local whatsapp_ids = named > 0 and { unpack(ARGV, first + count, first + count + named - 1) } or nil
  local there, sequence, tasks = take_off(session, raws)
  local ids = sequence and likely_ids(raws)
  if ids and redis.call('SREM', KEYS[5] .. session, unpack(ids)) == count then
    record_sent(session, ids, nil, whatsapp_ids, sequence, tasks)
  else
    count = end_each(session, raws, there, whatsapp_ids, sequence, tasks)
  end
  return { count, redis.call('LLEN', KEYS[1] .. session) }
end

local results, at = {}, 4
while at <= #ARGV do
  local count, named = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  results[#results + 1] = served(ack, ARGV[at], at + 3, count, named)
  at = at + 3 + count + named
end
append_said(KEYS[8], now)
return results
