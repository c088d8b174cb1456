#!lua flags=allow-oom
-- Forgets what ended too long ago, and what is too much of it: dead tasks, a bite at a time, and ids of ended tasks.
-- KEYS  1 dead, 2 task ids, 3 ended
-- ARGV  1 time offset, 2 ms that a dead task is kept, 3 most dead tasks kept, 4 ms that an ended id is kept, 5 most
--       ended ids kept, 6 most dead tasks a call
-- Result how many dead tasks; when it is the most of a call, there may be more
-- include: outbox

local now, bite = now_ms(ARGV[1]), tonumber(ARGV[6])
local oldest, surplus = now - tonumber(ARGV[2]), redis.call('LLEN', KEYS[1]) - tonumber(ARGV[3])

local entries = redis.call('LRANGE', KEYS[1], -bite, -1)
local count, ids, scored = 0, {}, {}
for i = #entries, 1, -1 do -- the oldest stands last
  local ok, buried = pcall(cjson.decode, entries[i])
  if not ok or type(buried) ~= 'table' then buried = {} end -- nothing that could ever be served
  local at = tonumber(buried.at) or 0
  if count >= surplus and at > oldest then break end
  count = count + 1
  local id = type(buried.raw) == 'string' and task_id(buried.raw)
  if id then
    ids[#ids + 1] = id
    scored[#scored + 1], scored[#scored + 2] = whole(at), id
  end
end
if count > 0 then redis.call('LTRIM', KEYS[1], 0, -(count + 1)) end
if #ids > 0 then
  -- Like every ended one it is recognised for a while yet when it is enqueued again.
  redis.call('SREM', KEYS[2], unpack(ids))
  redis.call('ZADD', KEYS[3], unpack(scored))
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. whole(now - tonumber(ARGV[4])))
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -(tonumber(ARGV[5]) + 1))
return count
