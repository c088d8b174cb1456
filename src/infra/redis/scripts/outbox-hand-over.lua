#!lua flags=allow-oom
-- Makes a worker the owner that was prepared under an epoch of its own: every older one is fenced from here on.
-- KEYS  1 owner, 2 leader
-- ARGV  1 epoch, 2 fencing number of the lead under which this was planned; empty for none
-- Result 1; 0 if this epoch or a later one has begun already, and nothing is changed
-- Error FENCED: another runner leads by now, and may have started a worker since
-- include: lead

if has_lost_lead(KEYS[2], ARGV[2]) then return redis.error_reply(FENCED) end
if tonumber(ARGV[1]) <= tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
return 1
