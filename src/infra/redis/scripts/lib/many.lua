-- For scripts that serve many sessions with one call. One session's trouble (somebody else's value under its key) is
-- its own: its answer is the error's text, the others are served.
local function served(serve, ...)
  local ok, result = pcall(serve, ...)
  if ok then return result end
  return type(result) == 'table' and result.err or tostring(result)
end

-- What the call has to say to the ledger, as one entry: an event and its words, the session's id first.
local said = {}
local function say(event, ...)
  said[#said + 1], said[#said + 2] = event, table.concat({ ... }, ' ')
end

local function append_said(ledger, now)
  if #said > 0 then redis.call('XADD', ledger, '*', 'at', whole(now), unpack(said)) end
end
