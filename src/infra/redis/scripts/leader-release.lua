#!lua flags=allow-oom
-- Gives the lease back, so that another runner need not wait for its end. The fencing number stays.
-- KEYS  1 leader
-- ARGV  1 holder id
-- Result 1 if it was the holder's
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'holder', '', 'untilMs', 0)
return 1
