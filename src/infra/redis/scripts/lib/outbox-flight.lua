-- The lease of a whole claim, in three fields of the owner: 'claim', 'request' and 'flight', which is 'epoch|deadline|
-- tasks|sequence of the first'. It is written when all that is claimed is handed out for the first time and nothing else
-- is known of the session's tasks, which is nearly always, and stands for one lease of each. Whoever has to do with a
-- part of the claim spreads it first. When all of it has ended it stays, and means nothing: no list, no lease. Needs
-- lib/outbox.lua before it.

local function flight_text(epoch, deadline, tasks, sequence)
  return string.format('%d|%d|%d|%d', epoch, deadline, tasks, sequence)
end

-- Gives each task in flight the lease of its own that it stands for. One that has a lease already keeps it.
local function spread_flight(owner, processing, leases)
  local known = redis.call('HMGET', owner, 'claim', 'request', 'flight')
  if not known[3] then return end
  local epoch, deadline, tasks, sequence = string.match(known[3], '^(%d+)|(%d+)|(%d+)|(%d+)$')
  redis.call('HDEL', owner, 'claim', 'request', 'flight')
  if not epoch then return end
  local beginning = lease_beginning(tonumber(epoch), known[1] or '', known[2] or '', tonumber(deadline))
  local raws = redis.call('LRANGE', processing, -tonumber(tasks), -1)
  for i = #raws, 1, -1 do -- the first stands last
    local own = tonumber(sequence) + #raws - i
    redis.call('HSETNX', leases, redis.sha1hex(raws[i]), beginning .. '1|' .. whole(own))
  end
end
