#!lua flags=allow-oom
-- A delay that a nack has asked for, as SQL knows it; a longer one stays.
-- KEYS  1 owner, 2 marker of the settled server
-- ARGV  1 run id, 2 time offset, 3 ms that are left of it
-- Result 1 if something was changed, -1 if the server has been settled meanwhile
-- include: outbox

if redis.call('GET', KEYS[2]) == ARGV[1] then return -1 end
local now, for_ms = now_ms(ARGV[2]), tonumber(ARGV[3])
local left = tonumber(redis.call('HGET', KEYS[1], 'notBefore') or '0') - now
-- What differs by less than two clocks do is the same delay.
if for_ms - left < 1000 then return 0 end
redis.call('HSET', KEYS[1], 'notBefore', whole(now + for_ms))
return 1
