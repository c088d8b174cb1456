#!lua flags=allow-oom
-- Takes or renews the lease of the one runner that leads. Time is the server's own.
-- KEYS  1 leader: HASH {holder, fence, untilMs}
-- ARGV  1 holder id, 2 lease in ms
-- Result the fencing number if the holder leads now, else -(ms until the lease may be taken)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local holder = redis.call('HGET', KEYS[1], 'holder')
local until_ms = tonumber(redis.call('HGET', KEYS[1], 'untilMs') or '0')
if holder and holder ~= '' and holder ~= ARGV[1] and until_ms > now then
  return -math.max(1, until_ms - now)
end
-- A holder that lets its lease run out gets a new number, also if nobody else had it in between.
if holder ~= ARGV[1] or until_ms <= now then redis.call('HINCRBY', KEYS[1], 'fence', 1) end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'untilMs', now + tonumber(ARGV[2]))
return tonumber(redis.call('HGET', KEYS[1], 'fence'))
