-- What all outbox scripts share.
-- A lease is 'epoch|claim id|request id|deadline|deliveries|sequence', under the SHA-1 of the raw string. It stays
-- when a task goes back to the queue, as the memory of its deliveries and of its place. Whether it is in force is
-- said by the raw string standing in the processing list.
-- Redis' Lua hashes each byte of each string that comes into a script or is made in it, and raw strings are long: what
-- happens for every message reads each of them once, and puts none of them together.

local find, match, sub = string.find, string.match, string.sub

local function whole(number) return string.format('%d', number) end

-- Milliseconds of Redis' own clock. The offset is 0 but in tests, which jump over leases with it.
local function now_ms(offset)
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(offset)
end

local function parse_lease(text)
  if not text then return nil end
  local epoch, claim, request, deadline, deliveries, sequence =
    string.match(text, '^(%d+)|([^|]*)|([^|]*)|(%d+)|(%d+)|(%d+)$')
  if not epoch then return nil end
  return {
    epoch = tonumber(epoch), claim = claim, request = request, deadline = tonumber(deadline),
    deliveries = tonumber(deliveries), sequence = tonumber(sequence),
  }
end

-- What the leases of one claim have in common; deliveries and sequence follow.
local function lease_beginning(epoch, claim, request, deadline)
  return table.concat({ whole(epoch), claim, request, whole(deadline), '' }, '|')
end

local function lease_text(lease)
  return lease_beginning(lease.epoch, lease.claim, lease.request, lease.deadline)
    .. whole(lease.deliveries) .. '|' .. whole(lease.sequence)
end

local function read_lease(leases, raw)
  local field = redis.sha1hex(raw)
  return parse_lease(redis.call('HGET', leases, field)), field
end

-- The leases as text (false where there is none) and fields of many raw strings, with one command.
local function read_lease_texts(leases, raws)
  local fields = {}
  for i = 1, #raws do fields[i] = redis.sha1hex(raws[i]) end
  return #fields > 0 and redis.call('HMGET', leases, unpack(fields)) or {}, fields
end

-- The same, parsed (nil where there is none, so not a sequence).
local function read_leases(leases, raws)
  local texts, fields = read_lease_texts(leases, raws)
  local found = {}
  for i = 1, #fields do found[i] = parse_lease(texts[i]) end
  return found, fields
end

local function write_lease(leases, field, lease) redis.call('HSET', leases, field, lease_text(lease)) end

-- Our own tasks start with their id; those of others are decoded.
local function task_id(raw)
  local id = string.match(raw, '^{"taskId":"(%w[%w._:@-]*)"')
  if id then return id end
  if string.byte(raw, 1) ~= 123 or not string.find(raw, '"taskId"', 1, true) then return nil end
  local ok, task = pcall(cjson.decode, raw)
  if not ok or type(task) ~= 'table' or type(task.taskId) ~= 'string' then return nil end
  if #task.taskId > 128 then return nil end
  return string.match(task.taskId, '^%w[%w._:@-]*$')
end

-- The same, for who then asks the set of task ids, which alone knows whether it is one: a look at each of its characters
-- costs more than all else here.
local function likely_id(raw)
  if find(raw, '{"taskId":"', 1, true) ~= 1 then return nil end
  local ends = find(raw, '"', 12, true)
  return ends and sub(raw, 12, ends - 1)
end

-- The owner's epoch may be missing after Redis has lost data: a newer one of a genuine token is taken over.
local function is_stale(owner, epoch)
  if epoch == 0 then return false end
  local current = tonumber(redis.call('HGET', owner, 'epoch') or '0')
  if epoch < current then return true end
  if epoch > current then redis.call('HSET', owner, 'epoch', whole(epoch)) end
  return false
end

local function record(ledger, event, session, id, now, ...)
  if id then redis.call('XADD', ledger, '*', 'e', event, 's', session, 't', id, 'at', whole(now), ...) end
end

-- Puts a raw string back where it came from: at the claim end of the queue, but behind what was claimed before it.
local function put_back(queue, leases, raw, sequence)
  local before = {}
  while true do
    local last = redis.call('LINDEX', queue, -1)
    if not last then break end
    local lease = read_lease(leases, last)
    -- Without a number it has not been handed out since its lease was put back by itself.
    if not lease or lease.sequence == 0 or lease.sequence >= sequence then break end
    before[#before + 1] = redis.call('RPOP', queue)
  end
  redis.call('RPUSH', queue, raw)
  for i = #before, 1, -1 do redis.call('RPUSH', queue, before[i]) end
end

local function forget_if_empty(active, session, queue, processing)
  if redis.call('EXISTS', queue, processing) == 0 then redis.call('SREM', active, session) end
end
