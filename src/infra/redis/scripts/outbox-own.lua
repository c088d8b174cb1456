#!lua flags=allow-oom
-- Makes a new owner: every older one is fenced from here on.
-- KEYS  1 owner, 2 leader
-- ARGV  1 time offset, 2 fencing number of the lead under which this was planned; empty for none
-- Result the epoch: greater than any before, and never used again as long as the clock does not stand still
-- Error FENCED: another runner leads by now, and may have started a worker since
-- include: outbox
-- include: lead

if has_lost_lead(KEYS[2], ARGV[2]) then return redis.error_reply(FENCED) end
local now = now_ms(ARGV[1])
local epoch = math.max(tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') + 1, now)
redis.call('HSET', KEYS[1], 'epoch', whole(epoch))
return whole(epoch)
