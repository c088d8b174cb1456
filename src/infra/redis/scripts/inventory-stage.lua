#!lua
-- Appends a piece to an upload's staging list, which is dropped by itself if nothing comes for a while.
-- KEYS  1 the staging list
-- ARGV  1 the piece's id (0: SQL does not know it), 2 its rows as in lib/inventory-add.lua, 3 seconds
-- Result pieces that are staged
local staged = redis.call('RPUSH', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return staged
