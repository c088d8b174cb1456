#!lua flags=no-writes
-- Which of these queues hold something: for the sweep that finds what was pushed behind our back.
-- KEYS  queues
-- Result the places of those, from 0
local ready = {}
for i, queue in ipairs(KEYS) do
  if redis.call('EXISTS', queue) == 1 then ready[#ready + 1] = i - 1 end
end
return ready
