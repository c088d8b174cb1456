#!lua flags=allow-oom
-- Extends the leases of tasks in flight. Those that are no longer held by the caller are named; the others count.
-- KEYS  1 processing, 2 leases, 3 owner
-- ARGV  1 time offset, 2 epoch (0: none), 3 claim id or '', 4 lease for text in ms, 5 for media in ms, then raw strings
-- Result {'stale'}, or {'touched', ms until the first of them runs out, place of each lost one, from 0, …}
-- include: outbox
-- include: outbox-flight

local now, epoch = now_ms(ARGV[1]), tonumber(ARGV[2])
if is_stale(KEYS[3], epoch) then return { 'stale' } end
spread_flight(KEYS[3], KEYS[1], KEYS[2])
local result = { 'touched', 0 }
for i = 6, #ARGV do
  local raw = ARGV[i]
  local lease, field = read_lease(KEYS[2], raw)
  local held = lease and (epoch == 0 or lease.epoch == epoch)
    and (ARGV[3] == '' or lease.claim == ARGV[3])
    and redis.call('LPOS', KEYS[1], raw)
  if held then
    local media = string.find(raw, '"mode":"image"', 1, true)
    lease.deadline = math.max(lease.deadline, now + tonumber(media and ARGV[5] or ARGV[4]))
    write_lease(KEYS[2], field, lease)
    local left = lease.deadline - now
    result[2] = result[2] == 0 and left or math.min(result[2], left)
  else
    result[#result + 1] = i - 6
  end
end
return result
