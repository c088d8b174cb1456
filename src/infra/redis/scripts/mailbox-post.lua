#!lua flags=allow-oom
-- Leaves a command for a worker, unless one with its id waits already.
-- KEYS  1 commands of the session
-- ARGV  1 command JSON, 2 seconds that it is kept
-- Result 1 if it was added
local id = cjson.decode(ARGV[1]).id
for _, raw in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if cjson.decode(raw).id == id then return 0 end
end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
