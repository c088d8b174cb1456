#!lua flags=allow-oom
-- The owner of a session as SQL knows it; a newer one stays.
-- KEYS  1 owner
-- ARGV  1 epoch
local epoch = tonumber(ARGV[1])
if epoch > tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') then redis.call('HSET', KEYS[1], 'epoch', ARGV[1]) end
return 1
