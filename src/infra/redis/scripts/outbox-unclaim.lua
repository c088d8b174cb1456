#!lua flags=allow-oom
-- Takes a claim back whose client has gone before it was answered: as if it had never been handed out.
-- KEYS  1 queue, 2 processing, 3 leases, 4 ledger, 5 owner
-- ARGV  1 session id, 2 time offset, 3 claim id
-- Result how many tasks went back
-- include: outbox
-- include: outbox-flight

local now, back = now_ms(ARGV[2]), 0
spread_flight(KEYS[5], KEYS[2], KEYS[3])
for _, raw in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  local lease, field = read_lease(KEYS[3], raw)
  if lease and lease.claim == ARGV[3] then
    redis.call('LREM', KEYS[2], -1, raw)
    put_back(KEYS[1], KEYS[3], raw, lease.sequence)
    lease.deliveries = math.max(lease.deliveries - 1, 0)
    write_lease(KEYS[3], field, lease)
    record(KEYS[4], 'requeued', ARGV[1], task_id(raw), now, 'n', whole(lease.deliveries))
    back = back + 1
  end
end
return back
