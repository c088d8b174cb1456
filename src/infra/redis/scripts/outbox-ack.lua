#!lua flags=allow-oom
-- Ends tasks as sent, wherever they are: in flight, back in the queue, or dead. A repeat changes nothing.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 leases, 4 dead lists, 5 sets of task ids, 6 sets of
--       ended ids, 7 owners; 8 ledger
-- ARGV  1 time offset, 2 ms that an ended id is kept, 3 most ended ids kept, then per call: session id, how many
--       tasks, as many pairs of raw string and WhatsApp id or ''
-- Result per call {how many were ended by it, length of the queue} or the text of an error
-- include: outbox
-- include: outbox-flight
-- include: many

local now, most_kept = now_ms(ARGV[1]), tonumber(ARGV[3])
local now_text, oldest_text = whole(now), '(' .. whole(now - tonumber(ARGV[2]))
-- Ended ids are trimmed so far that they stay below the most until so many tasks later.
local trimmed_every = math.max(math.floor(most_kept / 16), 1)
local surplus_text = whole(trimmed_every - most_kept - 2)

-- flight: the lease of all that has ended; without one nobody knows when it was last.
local function has_to_trim(flight)
  local tasks, first = string.match(flight or '', '|(%d+)|(%d+)$')
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
  return lease and string.match(lease, '^%d+|[^|]*|[^|]*|%d+|(%d+)|') or '0'
end

-- Which of the raw strings are among those in flight, and how many of those are others; nil if a string is there twice.
local function compare(flying, raws)
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
-- Result per raw string whether it was there; the lease if it has stood for them all
local function take_off(session, raws)
  local owner, processing = KEYS[7] .. session, KEYS[2] .. session
  local flight = redis.call('HGET', owner, 'flight')
  if flight and string.match(flight, '|(%d+)|%d+$') == whole(#raws) then
    local flying = redis.call('RPOP', processing, whole(#raws + 1)) -- one more shows that there are others
    if not flying then return {}, nil end
    local there, others = compare(flying, raws)
    if others == 0 then return there, flight end
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

local function ack(session, first, count)
  local leases, ids, ended = KEYS[3] .. session, KEYS[5] .. session, KEYS[6] .. session
  local raws = {}
  for i = 1, count do raws[i] = ARGV[first + 2 * i - 2] end
  local there, together = take_off(session, raws)
  local done, known, whatsapp_ids = {}, {}, {}
  for i, raw in ipairs(raws) do
    local id = task_id(raw)
    together = there[i] and together
    if there[i] or take_off_late(session, ids, raw, id) then
      done[#done + 1] = raw
      known[#done], whatsapp_ids[#done] = id or false, ARGV[first + 2 * i - 1]
    end
  end
  local queued = redis.call('LLEN', KEYS[1] .. session)
  if #done == 0 then return { 0, queued } end

  local texts, fields
  if not together then
    texts, fields = read_lease_texts(leases, done)
    redis.call('HDEL', leases, unpack(fields))
  end
  local gone, scored = {}, {}
  for i = 1, #done do
    if known[i] then
      gone[#gone + 1] = known[i]
      scored[2 * #gone - 1], scored[2 * #gone] = now_text, known[i]
      local deliveries = texts and deliveries_of(texts[i]) or '1'
      local whatsapp_id = whatsapp_ids[i] == '' and '' or ' ' .. whatsapp_ids[i]
      say('sent', session .. ' ' .. known[i] .. ' ' .. deliveries .. whatsapp_id)
    end
  end
  if #gone > 0 then
    redis.call('SREM', ids, unpack(gone))
    redis.call('ZADD', ended, unpack(scored))
    if has_to_trim(together) then
      redis.call('ZREMRANGEBYSCORE', ended, '-inf', oldest_text)
      redis.call('ZREMRANGEBYRANK', ended, '0', surplus_text)
    end
  end
  return { #done, queued }
end

local results, at = {}, 4
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  results[#results + 1] = served(ack, ARGV[at], at + 2, count)
  at = at + 2 + 2 * count
end
append_said(KEYS[8], now)
return results
