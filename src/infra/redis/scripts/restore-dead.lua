#!lua flags=allow-oom
-- Puts dead tasks, as SQL has them, onto a session's dead list. Oldest first; call it in order.
-- KEYS  1 dead, 2 task ids, 3 ended, 4 marker of the settled server
-- ARGV  1 run id, then fives of task id, raw string, reason, time in ms and number of deliveries (at most 500)
-- Result how many; -1 if the server has been settled meanwhile

if redis.call('GET', KEYS[4]) == ARGV[1] then return -1 end
local count = 0
for i = 2, #ARGV, 5 do
  local id = ARGV[i]
  if not redis.call('ZSCORE', KEYS[3], id) then -- acked late, since SQL was read
    local buried = { raw = ARGV[i + 1], reason = ARGV[i + 2], at = tonumber(ARGV[i + 3]), attempts = tonumber(ARGV[i + 4]) }
    redis.call('LPUSH', KEYS[1], cjson.encode(buried))
    redis.call('SADD', KEYS[2], id)
    count = count + 1
  end
end
return count
