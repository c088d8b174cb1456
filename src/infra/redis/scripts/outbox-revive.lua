#!lua
-- Takes tasks off the dead list: back into the queue, as new ones at its end, or out of the outbox altogether.
-- KEYS  1 queue, 2 dead, 3 leases, 4 task ids, 5 active, 6 ledger
-- ARGV  1 session id, 2 time offset, 3 'replay' or 'drop', 4 most tasks, then task ids (none: the oldest)
-- Result how many
-- include: outbox

local session, now, replay, most = ARGV[1], now_ms(ARGV[2]), ARGV[3] == 'replay', tonumber(ARGV[4])
local wanted
if #ARGV > 4 then
  wanted = {}
  for i = 5, #ARGV do wanted[ARGV[i]] = true end
end

local entries = wanted and redis.call('LRANGE', KEYS[2], 0, -1) or redis.call('LRANGE', KEYS[2], -most, -1)
local ids, count = {}, 0
for i = #entries, 1, -1 do -- the oldest stands last
  local ok, buried = pcall(cjson.decode, entries[i])
  local raw = ok and type(buried) == 'table' and buried.raw
  local id = raw and task_id(raw)
  if raw and count < most and (not wanted or (id and wanted[id])) then
    redis.call('LREM', KEYS[2], -1, entries[i])
    redis.call('HDEL', KEYS[3], redis.sha1hex(raw))
    count = count + 1
    if replay then
      redis.call('LPUSH', KEYS[1], raw)
      if id then ids[#ids + 1] = id end
    elseif id then
      redis.call('SREM', KEYS[4], id)
    end
  elseif not raw then
    redis.call('LREM', KEYS[2], -1, entries[i]) -- nothing that could ever be served
  end
end
if replay and count > 0 then
  redis.call('SADD', KEYS[5], session)
  if #ids > 0 then
    redis.call('SADD', KEYS[4], unpack(ids))
    record(KEYS[6], 'replayed', session, table.concat(ids, ' '), now)
  end
end
return count
