#!lua flags=allow-oom
-- Makes a new owner: every older one is fenced from here on.
-- KEYS  1 owner
-- ARGV  1 time offset
-- Result the epoch: greater than any before, and never used again as long as the clock does not stand still
-- include: outbox

local now = now_ms(ARGV[1])
local epoch = math.max(tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') + 1, now)
redis.call('HSET', KEYS[1], 'epoch', whole(epoch))
return whole(epoch)
