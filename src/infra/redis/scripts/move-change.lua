-- Changes the note about a session's way to another node, unless another was written meanwhile.
-- KEYS  1 moves
-- ARGV  1 session id
--       2 the note as it was read
--       3 the note as it is to be; empty: none
-- Result 1 if it was changed
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
