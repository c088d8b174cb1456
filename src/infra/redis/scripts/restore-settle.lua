#!lua flags=allow-oom
-- Opens a server whose data were brought up to date, if the one that says so is still the one that restores.
-- KEYS  1 lease of the restorer, 2 mark
-- ARGV  1 name, 2 run id of the server
-- Result 1 if it is open now
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
