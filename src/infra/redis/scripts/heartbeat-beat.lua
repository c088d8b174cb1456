#!lua flags=allow-oom
-- Notes a sign of life by the server's clock.
-- KEYS  1 heartbeats
-- ARGV  1 session id
-- Result 1 if there was none before
local t = redis.call('TIME')
return redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
