#!lua flags=no-writes
-- Which of these outboxes hold something: for the sweep, which finds what was pushed behind our back, and leases of
-- others that will run out.
-- KEYS  pairs of queue and processing list
-- Result the places of those, from 0
local ready = {}
for i = 1, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i], KEYS[i + 1]) > 0 then ready[#ready + 1] = (i - 1) / 2 end
end
return ready
