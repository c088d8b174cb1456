-- For scripts that serve many sessions with one call. One session's trouble (somebody else's value under its key) is
-- its own: its answer is the error's text, the others are served.
local function served(serve, ...)
  local ok, result = pcall(serve, ...)
  if ok then return result end
  return type(result) == 'table' and result.err or tostring(result)
end

-- What the call has to say to the ledger, as one entry: an event and its words, the session's id first.
local said, said_count = {}, 0
local function say(event, words)
  said[said_count + 1], said[said_count + 2] = event, words
  said_count = said_count + 2
end

local function append_said(ledger, now)
  if said_count > 0 then redis.call('XADD', ledger, '*', 'at', whole(now), unpack(said)) end
end
