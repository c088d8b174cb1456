#!lua flags=allow-oom
-- Hands out the next task, or the next few as one batch under one lease.
-- KEYS  1 queue, 2 processing, 3 leases, 4 dead, 5 task ids, 6 owner, 7 active, 8 ledger
-- ARGV  1 session id, 2 time offset, 3 epoch (0: none), 4 request id, 5 claim id, 6 most tasks,
--       7 lease for text in ms, 8 lease for media in ms, 9 most deliveries
-- Result {'tasks', claim id, ms left, 1 if handed out before, raw, attempt, raw, attempt, …}
--        {'held', ms until the lease in force runs out}   {'delayed', ms until the head of the line may go}
--        {'empty'}   {'stale'}   {'again'}: many dead tasks were cleared away, and there may be more
-- include: outbox
-- include: outbox-dead
-- include: iso-time

local queue, processing, leases, dead, owner, ledger = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[8]
local session, now, epoch, request = ARGV[1], now_ms(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local most, max_deliveries = tonumber(ARGV[6]), tonumber(ARGV[9])

if is_stale(owner, epoch) then return { 'stale' } end
redis.call('HSET', owner, 'seenAt', whole(now))

-- What is in flight: the same request again, somebody's lease, or free to be served again.
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

if #same > 0 then
  table.sort(same, function(a, b) return a.lease.sequence < b.lease.sequence end)
  local result = { 'tasks', same[1].lease.claim, same[1].lease.deadline - now, 1 }
  for _, entry in ipairs(same) do
    result[#result + 1], result[#result + 2] = entry.raw, entry.lease.deliveries
  end
  return result
end
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

local batch, fields, lease_ms, buried = {}, {}, 0, 0
while #batch < most do
  local raw = redis.call('RPOP', queue)
  if not raw then break end
  local lease, field = read_lease(leases, raw)
  local deliveries = lease and lease.deliveries or 0
  if fields[field] then -- the same string twice: leases cannot tell them apart, so one after the other
    redis.call('RPUSH', queue, raw)
    break
  elseif has_expired(raw, now) then
    bury(dead, leases, ledger, session, raw, field, 'expired', deliveries, now)
    buried = buried + 1
  elseif deliveries >= max_deliveries then
    bury(dead, leases, ledger, session, raw, field, 'delivery_limit', deliveries, now)
    buried = buried + 1
  else
    fields[field] = true
    batch[#batch + 1] = { raw = raw, field = field, lease = lease, deliveries = deliveries + 1 }
    local media = string.find(raw, '"mode":"image"', 1, true)
    lease_ms = math.max(lease_ms, tonumber(media and ARGV[8] or ARGV[7]))
  end
  if buried >= 500 then break end
end

if #batch == 0 then
  if buried >= 500 then return { 'again' } end
  forget_if_empty(KEYS[7], session, queue, processing)
  return { 'empty' }
end

local result = { 'tasks', ARGV[5], lease_ms, 0 }
for _, entry in ipairs(batch) do
  local raw = entry.raw
  local sequence = entry.lease and entry.lease.sequence or 0
  if sequence == 0 then sequence = redis.call('HINCRBY', owner, 'sequence', 1) end
  write_lease(leases, entry.field, {
    epoch = epoch, claim = ARGV[5], request = request, deadline = now + lease_ms,
    deliveries = entry.deliveries, sequence = sequence,
  })
  redis.call('LPUSH', processing, raw)
  local id = task_id(raw)
  -- A task that somebody pushed by hand becomes known here; its raw string goes along, for the record.
  if id and redis.call('SADD', KEYS[5], id) == 1 then
    redis.call('SADD', KEYS[7], session)
    record(ledger, 'claimed', session, id, now, 'n', whole(entry.deliveries), 'p', raw)
  else
    record(ledger, 'claimed', session, id, now, 'n', whole(entry.deliveries))
  end
  result[#result + 1], result[#result + 2] = raw, entry.deliveries
end
return result
