-- Moves the next piece of a complete upload from its staging list into the pool.
-- KEYS  as in lib/inventory.lua, then 19 the staging list, 20 the ids of the pieces that the pools hold
-- ARGV  1 'profiles' or 'proxies', 2 sessions per proxy
-- A piece is its id (0: SQL does not know it), a blank, and rows as in lib/inventory-add.lua.
-- Result {pieces left, id or -1, 1 if it has changed anything, added, duplicates, number of a line whose id belongs to
--        another profile, …}
-- include: inventory
-- include: inventory-add

local staging, kind, cap = KEYS[19], ARGV[1], tonumber(ARGV[2])
local staged = redis.call('LPOP', staging)
if not staged then return { 0, -1, 0, 0, 0 } end
local id, rows = string.match(staged, '^(%d+) (.*)$')
local add = kind == 'proxies' and add_proxies or add_profiles
local added, duplicates, clashes, revived = add(cjson.decode(rows), cap)
local changed = added + revived > 0
if id ~= '0' then redis.call('SADD', KEYS[20], id) end
return { redis.call('LLEN', staging), tonumber(id), changed and 1 or 0, added, duplicates, unpack(clashes) }
