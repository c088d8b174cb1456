#!lua flags=allow-oom
-- Takes or renews the lease of the one runner that leads. Time is the server's own.
-- A lease that ran out while nobody could ask (the server stood still, or was away) says nothing about its holder:
-- another one takes it only after having asked all through the time of a lease. The holder goes on at once, and so
-- does its successor in the same place, which knows that it is gone.
-- KEYS  1 leader: HASH {holder, place, startedAt, fence, untilMs, lostAt}
-- ARGV  1 holder id, 2 lease in ms, 3 place of the holder, 4 when it was started there (ms),
--       5 server time of the last answer to it (0: none), 6 server time since which it has asked without a gap,
--       7 '1' if it led as of the last answer
-- Result {the fencing number if the holder leads now, else -(ms until it may try), server time, 1 if it was taken
--        from another one that had not given it back, or after a loss of data}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local lease, last, since, led = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local holder, place, started, until_ms =
  unpack(redis.call('HMGET', KEYS[1], 'holder', 'place', 'startedAt', 'untilMs'))
until_ms = tonumber(until_ms or '0') or 0

local mine = holder == ARGV[1]
local succeeds = holder and place == ARGV[3] and tonumber(started or '0') < tonumber(ARGV[4])
-- Nobody known: for a new one this is the beginning; one that has heard of a leader knows that data were lost.
local first = not holder and (led or last == 0)
if not (mine or succeeds or first or holder == '') then
  local wait = until_ms - now
  if not holder then
    redis.call('HSETNX', KEYS[1], 'lostAt', now)
    wait = lease - (now - tonumber(redis.call('HGET', KEYS[1], 'lostAt')))
  elseif wait <= 0 then
    local gapless = last > 0 and now - last <= lease
    wait = lease - (gapless and now - since or 0)
  end
  if wait > 0 then return { -wait, now, 0 } end
end
local taken = not (mine or succeeds or holder == '') and (holder or last > 0)
-- A holder that lets its lease run out gets a new number, also if nobody else had it in between.
-- Numbers grow with the time, so that after a loss of data none comes again that a stalled leader may still hold.
if not mine or until_ms <= now then
  local fence = math.max(tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') + 1, now)
  redis.call('HSET', KEYS[1], 'fence', string.format('%d', fence))
end
redis.call('HDEL', KEYS[1], 'lostAt')
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'place', ARGV[3], 'startedAt', ARGV[4], 'untilMs', now + lease)
return { tonumber(redis.call('HGET', KEYS[1], 'fence')), now, taken and 1 or 0 }
