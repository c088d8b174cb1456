-- The lease of a whole claim, in three fields of the owner: 'claim', 'request' and 'flight', which is 'epoch|deadline|
-- tasks|sequence of the first'. It is written when all that is claimed is handed out for the first time and nothing else
-- is known of the session's tasks, which is nearly always, and stands for one lease of each. Whoever has to do with a
-- part of the claim spreads it first. Needs lib/outbox.lua before it.

local function note_flight(noted, epoch, claim, request, deadline, tasks, sequence)
  local at = #noted
  noted[at + 1], noted[at + 2], noted[at + 3], noted[at + 4] = 'claim', claim, 'request', request
  noted[at + 5] = 'flight'
  noted[at + 6] = string.format('%d|%d|%d|%d', epoch, deadline, tasks, sequence)
end

-- Whether there was one.
local function forget_flight(owner) return redis.call('HDEL', owner, 'claim', 'request', 'flight') > 0 end

-- Gives each task in flight the lease of its own that it stands for. One that has a lease already keeps it.
local function spread_flight(owner, processing, leases)
  local known = redis.call('HMGET', owner, 'claim', 'request', 'flight')
  if not known[3] then return end
  local epoch, deadline, tasks, sequence = string.match(known[3], '^(%d+)|(%d+)|(%d+)|(%d+)$')
  forget_flight(owner)
  if not epoch then return end
  local beginning = lease_beginning(tonumber(epoch), known[1] or '', known[2] or '', tonumber(deadline))
  local raws = redis.call('LRANGE', processing, -tonumber(tasks), -1)
  for i = #raws, 1, -1 do -- the first stands last
    local own = tonumber(sequence) + #raws - i
    redis.call('HSETNX', leases, redis.sha1hex(raws[i]), beginning .. '1|' .. whole(own))
  end
end
