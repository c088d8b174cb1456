-- Whether another runner leads by now than the one that has planned this. No number: nobody's plan, never refused.
-- A lease that has run out is still good as long as nobody else has taken it.
local function has_lost_lead(leader, fence)
  return fence ~= nil and fence ~= '' and redis.call('HGET', leader, 'fence') ~= fence
end

local FENCED = 'FENCED Another runner leads the fleet by now.'
