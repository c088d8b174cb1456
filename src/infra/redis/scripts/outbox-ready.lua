#!lua flags=no-writes
-- Which of these outboxes hold something: for the sweep, which finds what was pushed behind our back, and leases of
-- others that will run out.
-- KEYS  begin of the names of 1 queues, 2 processing lists
-- ARGV  1 session ids with a blank between: as one text they cost the caller next to nothing
-- Result the places of those, from 0
local ready, place = {}, 0
for session in string.gmatch(ARGV[1], '[^ ]+') do
  if redis.call('EXISTS', KEYS[1] .. session, KEYS[2] .. session) > 0 then ready[#ready + 1] = place end
  place = place + 1
end
return ready
