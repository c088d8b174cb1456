#!lua flags=allow-oom
-- Hands out a session's next task, or its next few as one batch under one lease; for many sessions.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 leases, 4 dead lists, 5 sets of task ids, 6 owners;
--       7 active, 8 ledger
-- ARGV  1 time offset, 2 lease for text in ms, 3 lease for media in ms, 4 most deliveries, then per call:
--       session id, epoch (0: none), request id, claim id, most tasks
-- Result per call
--        {'tasks', claim id, ms left, 1 if handed out before, raw, attempt, raw, attempt, …}
--        {'first', claim id, ms left, raw, raw, …}: each for the first time; the last one is to be sent first
--        {'held', ms until the lease in force runs out}   {'delayed', ms until the head of the line may go}
--        {'empty'}   {'stale'}   {'again'}: many dead tasks were cleared away, and there may be more
--        or the text of an error
-- include: outbox
-- include: outbox-flight
-- include: outbox-dead
-- include: iso-time
-- include: many

local now, max_deliveries, ledger = now_ms(ARGV[1]), tonumber(ARGV[4]), KEYS[8]
local text_lease_ms, media_lease_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local now_text = whole(now)
local MOST_BURIED = 500

local function is_media(raw) return find(raw, '"mode":"image"', 1, true) end

-- What a worker would take for no task at all, and never end.
local function is_nothing(raw) return raw == '' or raw == 'null' end

local seen, turn = {}, 0 -- id to the last turn it was seen in: one table for all sessions

-- Whether each of these, newest first and from the given place on, may be handed out without another question; leases
-- cannot tell one string from the same again. A search looks at each place that has the first letter, and quotes are
-- many: so it begins with a look for what is rare.
-- Result their ids as far as can be seen, oldest first, and for how long they are held; nil if it is another case
local function look_at(line, from)
  local ids, count, lease_ms = {}, 0, text_lease_ms
  turn = turn + 1
  for i = #line, from, -1 do
    local raw = line[i]
    local id = likely_id(raw) or raw
    if seen[id] == turn or is_nothing(id) then return nil end
    if find(raw, 'At"', 1, true) and find(raw, '"expiresAt"', 1, true) then return nil end
    if find(raw, ':"image"', 1, true) and is_media(raw) then lease_ms = math.max(lease_ms, media_lease_ms) end
    seen[id], count = turn, count + 1
    ids[count] = id
  end
  return ids, lease_ms
end

-- What is in flight: the same request again, free to be served again, or somebody's until when.
local function in_flight(processing, leases, epoch, request)
  local same, free, until_ms = {}, {}, nil
  local raws = redis.call('LRANGE', processing, '0', '-1')
  local known = read_leases(leases, raws)
  for i, raw in ipairs(raws) do
    local lease = known[i]
    if not lease then
      free[#free + 1] = { raw = raw, sequence = 0 }
    elseif lease.deadline <= now or epoch > lease.epoch then
      free[#free + 1] = { raw = raw, sequence = lease.sequence }
    elseif lease.epoch == epoch and lease.request == request then
      same[#same + 1] = { raw = raw, lease = lease }
    else
      until_ms = math.max(until_ms or 0, lease.deadline)
    end
  end
  return same, free, until_ms
end

local function same_again(same)
  table.sort(same, function(a, b) return a.lease.sequence < b.lease.sequence end)
  local result = { 'tasks', same[1].lease.claim, same[1].lease.deadline - now, 1 }
  for _, entry in ipairs(same) do
    result[#result + 1], result[#result + 2] = entry.raw, entry.lease.deliveries
  end
  return result
end

-- Takes the next few off the queue; what may not be served any more is buried.
local function take(session, queue, leases, most)
  local batch, taken, lease_ms, buried = {}, {}, 0, 0
  while #batch < most and buried < MOST_BURIED do
    local raws = redis.call('RPOP', queue, whole(most - #batch))
    if not raws then break end
    local known, fields = read_leases(leases, raws)
    for i, raw in ipairs(raws) do
      local lease, field = known[i], fields[i]
      local deliveries = lease and lease.deliveries or 0
      if taken[field] then -- the same string twice: leases cannot tell them apart, so one after the other
        for last = #raws, i, -1 do redis.call('RPUSH', queue, raws[last]) end
        return batch, lease_ms, buried
      elseif is_nothing(raw) then
        bury(KEYS[4] .. session, leases, ledger, session, raw, field, 'not_a_task', deliveries, now)
        buried = buried + 1
      elseif has_expired(raw, now) then
        bury(KEYS[4] .. session, leases, ledger, session, raw, field, 'expired', deliveries, now)
        buried = buried + 1
      elseif deliveries >= max_deliveries then
        bury(KEYS[4] .. session, leases, ledger, session, raw, field, 'delivery_limit', deliveries, now)
        buried = buried + 1
      else
        taken[field] = true
        batch[#batch + 1] = { raw = raw, field = field, lease = lease, deliveries = deliveries + 1 }
        lease_ms = math.max(lease_ms, is_media(raw) and media_lease_ms or text_lease_ms)
      end
    end
  end
  return batch, lease_ms, buried
end

local function oldest_first(line, from)
  local raws = {}
  for i = #line, from, -1 do raws[#raws + 1] = line[i] end
  return raws
end

-- Tasks that somebody pushed by hand become known here; their raw strings go along, for the record. What was known
-- is only said to have been claimed.
-- deliveries: of each, as text; none: the first of all.
local function announce(session, ids_key, raws, deliveries)
  local ids, named, words = {}, {}, { session }
  for i, raw in ipairs(raws) do
    local id = task_id(raw)
    if id then ids[#ids + 1], named[#named + 1] = id, i end
  end
  if #ids == 0 then return end
  local known = redis.call('SMISMEMBER', ids_key, unpack(ids))
  local fresh = {}
  for at, id in ipairs(ids) do
    local count = deliveries and deliveries[named[at]] or '1'
    if known[at] == 1 or fresh[id] then
      words[#words + 1], words[#words + 2] = id, count
    else
      fresh[id] = true
      redis.call('SADD', ids_key, id)
      redis.call('SADD', KEYS[7], session)
      record(ledger, 'claimed', session, id, now, 'n', count, 'p', raws[named[at]])
    end
  end
  if #words > 1 then say('claimed', table.concat(words, ' ')) end
end

-- The same for what goes out for the first time, which is nearly always known.
-- line: newest first; from: the place of the newest of them
local function announce_first(session, ids_key, ids, line, from)
  local known = redis.call('SMISMEMBER', ids_key, unpack(ids))
  for i = 1, #known do
    if known[i] == 0 then return announce(session, ids_key, oldest_first(line, from)) end
  end
  say('claimed', session .. ' ' .. table.concat(ids, ' 1 ') .. ' 1')
end

-- Moves the next few into flight, if each may be served like any other. Most often that is all there is: then the
-- queue itself becomes the list of what is in flight.
-- Result raw strings, newest first, the place of the newest of them, and of `look_at`; nil, with nothing moved, if one
--        of them wants a closer look
local function take_plainly(queue, processing, most)
  if most == 1 then
    local line = { redis.call('LMOVE', queue, processing, 'RIGHT', 'LEFT') or nil }
    local ids, lease_ms = look_at(line, 1)
    if ids then return line, 1, ids, lease_ms end
    redis.call('LMOVE', processing, queue, 'LEFT', 'RIGHT')
    return nil
  end
  local line = redis.call('LRANGE', queue, whole(-most - 1), '-1')
  local from = #line > most and 2 or 1
  local ids, lease_ms = look_at(line, from)
  if not ids then return nil end
  if from == 2 then
    redis.call('LTRIM', queue, '0', whole(-most - 1))
    redis.call('RPUSH', processing, unpack(line, 2))
  elseif #line > 0 then
    redis.call('RENAME', queue, processing)
  end
  return line, from, ids, lease_ms
end

-- The usual case: nothing is in flight, and nothing is known of what waits.
-- Result as of a claim; nil if it is another case
local function claim_first(session, queue, processing, leases, owner, epoch, request, claim_id, most, sequence)
  if redis.call('EXISTS', processing, leases) > 0 then return nil end
  local line, from, ids, lease_ms = take_plainly(queue, processing, most)
  if not line then return nil end
  if #ids == 0 then
    redis.call('HSET', owner, 'seenAt', now_text)
    redis.call('SREM', KEYS[7], session)
    return { 'empty' }
  end
  redis.call('HSET', owner, 'seenAt', now_text, 'sequence', whole(sequence + #ids), 'claim', claim_id, 'request', request,
    'flight', flight_text(epoch, now + lease_ms, #ids, sequence + 1))
  announce_first(session, KEYS[5] .. session, ids, line, from)
  return { 'first', claim_id, lease_ms, unpack(line, from) }
end

local function claim(session, epoch, request, claim_id, most)
  local queue, processing, leases = KEYS[1] .. session, KEYS[2] .. session, KEYS[3] .. session
  local owner = KEYS[6] .. session
  local known = redis.call('HMGET', owner, 'epoch', 'notBefore', 'sequence')
  local current = tonumber(known[1] or '0')
  if epoch > 0 and epoch < current then return { 'stale' } end
  if epoch > current then redis.call('HSET', owner, 'epoch', whole(epoch)) end

  local not_before, sequence = tonumber(known[2] or '0'), tonumber(known[3] or '0')
  if not_before <= now then
    local first = claim_first(session, queue, processing, leases, owner, epoch, request, claim_id, most, sequence)
    if first then return first end
  end
  spread_flight(owner, processing, leases)
  local same, free, until_ms = in_flight(processing, leases, epoch, request)
  if #same > 0 or until_ms or not_before > now then redis.call('HSET', owner, 'seenAt', now_text) end
  if #same > 0 then return same_again(same) end
  if until_ms then return { 'held', until_ms - now } end

  -- All that is left in flight goes back to its place first, so that what is served next is in order again,
  -- also if a part of a batch had been given back before.
  for _, entry in ipairs(free) do
    redis.call('LREM', processing, -1, entry.raw)
    put_back(queue, leases, entry.raw, entry.sequence)
  end
  if not_before > now then
    if redis.call('EXISTS', queue) == 0 then return { 'empty' } end
    return { 'delayed', not_before - now }
  end

  local batch, lease_ms, buried = take(session, queue, leases, most)
  if #batch == 0 then
    redis.call('HSET', owner, 'seenAt', now_text)
    if buried >= MOST_BURIED then return { 'again' } end
    forget_if_empty(KEYS[7], session, queue, processing)
    return { 'empty' }
  end

  local result = { 'tasks', claim_id, lease_ms, 0 }
  local raws, deliveries, written = {}, {}, {}
  local shared = lease_beginning(epoch, claim_id, request, now + lease_ms)
  for i, entry in ipairs(batch) do
    local own = entry.lease and entry.lease.sequence or 0
    if own == 0 then
      sequence = sequence + 1
      own = sequence
    end
    raws[i], deliveries[i] = entry.raw, whole(entry.deliveries)
    written[2 * i - 1], written[2 * i] = entry.field, shared .. deliveries[i] .. '|' .. whole(own)
    result[#result + 1], result[#result + 2] = entry.raw, entry.deliveries
  end
  redis.call('HSET', owner, 'seenAt', now_text, 'sequence', whole(sequence))
  redis.call('HSET', leases, unpack(written))
  redis.call('LPUSH', processing, unpack(raws))
  announce(session, KEYS[5] .. session, raws, deliveries)
  return result
end

local results = {}
for at = 5, #ARGV, 5 do
  results[#results + 1] =
    served(claim, ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]))
end
append_said(ledger, now)
return results
