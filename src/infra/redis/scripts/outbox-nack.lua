#!lua flags=allow-oom
-- Gives a task in flight back to its place in the queue, or up for good. Of any number of repeats, one counts.
-- KEYS  1 queue, 2 processing, 3 leases, 4 dead, 5 owner, 6 active, 7 ledger
-- ARGV  1 session id, 2 time offset, 3 epoch (0: none), 4 raw string, 5 claim id or '', 6 delay in ms,
--       7 '1' for good, 8 reason or '', 9 '0' if the attempt does not count, 10 most deliveries
-- Result 'requeued', 'dead', 'not_current' or 'stale'
-- include: outbox
-- include: outbox-flight
-- include: outbox-dead

local queue, processing, leases, dead, owner, ledger = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[7]
local session, now, epoch, raw = ARGV[1], now_ms(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local delay_ms, reason = tonumber(ARGV[6]), ARGV[8]

if is_stale(owner, epoch) then return 'stale' end
spread_flight(owner, processing, leases)
local lease, field = read_lease(leases, raw)
if epoch > 0 and (not lease or lease.epoch ~= epoch) then return 'not_current' end
if ARGV[5] ~= '' and (not lease or lease.claim ~= ARGV[5]) then return 'not_current' end
if redis.call('LREM', processing, -1, raw) == 0 then return 'not_current' end

lease = lease or { epoch = 0, claim = '', request = '', deadline = 0, deliveries = 1, sequence = 0 }
if ARGV[9] == '0' then lease.deliveries = math.max(lease.deliveries - 1, 0) end

local permanent = ARGV[7] == '1'
if permanent or lease.deliveries >= tonumber(ARGV[10]) then
  local why = permanent and (reason ~= '' and reason or 'permanent')
    or ('delivery_limit' .. (reason ~= '' and (': ' .. reason) or ''))
  bury(dead, leases, ledger, session, raw, field, why, lease.deliveries, now)
  forget_if_empty(KEYS[6], session, queue, processing)
  return 'dead'
end

put_back(queue, leases, raw, lease.sequence)
write_lease(leases, field, lease)
if delay_ms > 0 then
  local not_before = tonumber(redis.call('HGET', owner, 'notBefore') or '0')
  redis.call('HSET', owner, 'notBefore', whole(math.max(not_before, now + delay_ms)))
end
record(ledger, 'requeued', session, task_id(raw), now, 'n', whole(lease.deliveries), 'r', reason)
return 'requeued'
