#!lua flags=allow-oom
-- Takes, keeps or gives up a lease that one process holds at a time.
-- One that has run out is still its last holder's, as long as nobody else has taken it.
-- KEYS  1 lease
-- ARGV  1 name, 2 for how many ms (0: gives it up)
-- Result 1 if the lease is with this name afterwards
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
