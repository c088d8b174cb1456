#!lua flags=allow-oom
-- Puts a piece of a session's queue, as SQL has it, onto a list beside it. Oldest first; call it in order.
-- KEYS  1 list beside the queue, 2 task ids, 3 ended, 4 ledger, 5 marker of the settled server, 6 leases
-- ARGV  1 session id, 2 time offset, 3 run id, then triples of task id, raw string and number of deliveries (at
--       most 1,000)
-- Result how many tasks Redis had lost; -1 if the server has been settled meanwhile
-- include: outbox

if redis.call('GET', KEYS[5]) == ARGV[3] then return -1 end
local lost = {}
for i = 4, #ARGV, 3 do
  local id = ARGV[i]
  if not redis.call('ZSCORE', KEYS[3], id) then -- has ended since SQL was read
    redis.call('LPUSH', KEYS[1], ARGV[i + 1])
    local deliveries = tonumber(ARGV[i + 2])
    local lease, field = read_lease(KEYS[6], ARGV[i + 1])
    if deliveries > (lease and lease.deliveries or 0) then
      lease = lease or { epoch = 0, claim = '', request = '', deadline = 0, sequence = 0 }
      lease.deliveries = deliveries
      write_lease(KEYS[6], field, lease)
    end
    if redis.call('SADD', KEYS[2], id) == 1 then lost[#lost + 1] = id end
  end
end
if #lost > 0 then record(KEYS[4], 'queued', ARGV[1], table.concat(lost, ' '), now_ms(ARGV[2])) end
return #lost
