#!lua flags=allow-oom
-- Hands out a session's next task, or its next few as one batch under one lease; for many sessions.
-- KEYS  begin of the names of 1 queues, 2 processing lists, 3 leases, 4 dead lists, 5 sets of task ids, 6 owners;
--       7 active, 8 ledger
-- ARGV  1 time offset, 2 lease for text in ms, 3 lease for media in ms, 4 most deliveries, then per call:
--       session id, epoch (0: none), request id, claim id, most tasks
-- Result per call
--        {'tasks', claim id, ms left, 1 if handed out before, raw, attempt, raw, attempt, …}
--        {'held', ms until the lease in force runs out}   {'delayed', ms until the head of the line may go}
--        {'empty'}   {'stale'}   {'again'}: many dead tasks were cleared away, and there may be more
--        or the text of an error
-- include: outbox
-- include: outbox-dead
-- include: iso-time
-- include: many

local now, max_deliveries, ledger = now_ms(ARGV[1]), tonumber(ARGV[4]), KEYS[8]
local MOST_BURIED = 500

-- What is in flight: the same request again, free to be served again, or somebody's until when.
local function in_flight(processing, leases, epoch, request)
  local same, free, until_ms = {}, {}, nil
  for _, raw in ipairs(redis.call('LRANGE', processing, 0, -1)) do
    local lease = read_lease(leases, raw)
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
  local batch, fields, lease_ms, buried = {}, {}, 0, 0
  while #batch < most and buried < MOST_BURIED do
    local raw = redis.call('RPOP', queue)
    if not raw then break end
    local lease, field = read_lease(leases, raw)
    local deliveries = lease and lease.deliveries or 0
    if fields[field] then -- the same string twice: leases cannot tell them apart, so one after the other
      redis.call('RPUSH', queue, raw)
      break
    elseif has_expired(raw, now) then
      bury(KEYS[4] .. session, leases, ledger, session, raw, field, 'expired', deliveries, now)
      buried = buried + 1
    elseif deliveries >= max_deliveries then
      bury(KEYS[4] .. session, leases, ledger, session, raw, field, 'delivery_limit', deliveries, now)
      buried = buried + 1
    else
      fields[field] = true
      batch[#batch + 1] = { raw = raw, field = field, lease = lease, deliveries = deliveries + 1 }
      local media = string.find(raw, '"mode":"image"', 1, true)
      lease_ms = math.max(lease_ms, tonumber(media and ARGV[3] or ARGV[2]))
    end
  end
  return batch, lease_ms, buried
end

local function claim(session, epoch, request, claim_id, most)
  local queue, processing, leases = KEYS[1] .. session, KEYS[2] .. session, KEYS[3] .. session
  local ids, owner = KEYS[5] .. session, KEYS[6] .. session
  if is_stale(owner, epoch) then return { 'stale' } end
  redis.call('HSET', owner, 'seenAt', whole(now))

  local same, free, until_ms = in_flight(processing, leases, epoch, request)
  if #same > 0 then return same_again(same) end
  if until_ms then return { 'held', until_ms - now } end

  -- All that is left in flight goes back to its place first, so that what is served next is in order again,
  -- also if a part of a batch had been given back before.
  for _, entry in ipairs(free) do
    redis.call('LREM', processing, -1, entry.raw)
    put_back(queue, leases, entry.raw, entry.sequence)
  end

  local not_before = tonumber(redis.call('HGET', owner, 'notBefore') or '0')
  if not_before > now then
    if redis.call('EXISTS', queue) == 0 then return { 'empty' } end
    return { 'delayed', not_before - now }
  end

  local batch, lease_ms, buried = take(session, queue, leases, most)
  if #batch == 0 then
    if buried >= MOST_BURIED then return { 'again' } end
    forget_if_empty(KEYS[7], session, queue, processing)
    return { 'empty' }
  end

  local result, words = { 'tasks', claim_id, lease_ms, 0 }, { session }
  for _, entry in ipairs(batch) do
    local raw = entry.raw
    local sequence = entry.lease and entry.lease.sequence or 0
    if sequence == 0 then sequence = redis.call('HINCRBY', owner, 'sequence', 1) end
    write_lease(leases, entry.field, {
      epoch = epoch, claim = claim_id, request = request, deadline = now + lease_ms,
      deliveries = entry.deliveries, sequence = sequence,
    })
    redis.call('LPUSH', processing, raw)
    local id = task_id(raw)
    -- A task that somebody pushed by hand becomes known here; its raw string goes along, for the record.
    if id and redis.call('SADD', ids, id) == 1 then
      redis.call('SADD', KEYS[7], session)
      record(ledger, 'claimed', session, id, now, 'n', whole(entry.deliveries), 'p', raw)
    elseif id then
      words[#words + 1], words[#words + 2] = id, whole(entry.deliveries)
    end
    result[#result + 1], result[#result + 2] = raw, entry.deliveries
  end
  if #words > 1 then say('claimed', unpack(words)) end
  return result
end

local results = {}
for at = 5, #ARGV, 5 do
  results[#results + 1] =
    served(claim, ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]))
end
append_said(ledger, now)
return results
