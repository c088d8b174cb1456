#!lua flags=allow-oom
-- Takes the tasks of a job out of a part of the queue. What is in flight stays, and may be queued again later.
-- Call it from place 0 on: what is pushed meanwhile moves tasks only to places that are still to come.
-- KEYS  1 queue, 2 processing, 3 leases, 4 task ids, 5 active, 6 ledger
-- ARGV  1 session id, 2 time offset, 3 job id, 4 first place, 5 how many places
-- Result {tasks of this part that stay, 1 if the queue ends here, id of each task taken out, …}
-- include: outbox

local queue = KEYS[1]
local session, now, from, count = ARGV[1], now_ms(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local exact = '"jobId":"' .. ARGV[3] .. '"'

local function belongs(raw)
  if not string.find(raw, '"jobId"', 1, true) then return false end
  if string.find(raw, '^{"taskId":"') then return string.find(raw, exact, 1, true) ~= nil end
  local ok, task = pcall(cjson.decode, raw)
  return ok and type(task) == 'table' and task.jobId == ARGV[3]
end

local part = redis.call('LRANGE', queue, from, from + count - 1)
local result, out, ids = { #part, #part < count and 1 or 0 }, 0, {}
for i, raw in ipairs(part) do
  if belongs(raw) then
    -- Marked now and removed together: removing each by value would search the list each time.
    redis.call('LSET', queue, from + i - 1, '\0withdrawn')
    redis.call('HDEL', KEYS[3], redis.sha1hex(raw))
    out = out + 1
    local id = task_id(raw)
    if id then
      redis.call('SREM', KEYS[4], id)
      ids[#ids + 1], result[#result + 1] = id, id
    end
  end
end
if out > 0 then
  redis.call('LREM', queue, out, '\0withdrawn')
  result[1] = #part - out
  if #ids > 0 then record(KEYS[6], 'withdrawn', session, table.concat(ids, ' '), now) end
  forget_if_empty(KEYS[5], session, queue, KEYS[2])
end
return result
