-- Milliseconds since 1970 of an ISO 8601 time with Z or an offset; nil if it is none.
local function iso_ms(text)
  local y, mo, d, h, mi, s, rest =
    string.match(text, '^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):?(%d*)(.*)$')
  if not y then return nil end
  y, mo, d = tonumber(y), tonumber(mo), tonumber(d)
  local fraction, zone = string.match(rest, '^(%.?%d*)(.*)$')
  local shift = 0
  if zone ~= 'Z' and zone ~= 'z' then
    local sign, zh, zm = string.match(zone, '^([+-])(%d%d):?(%d%d)$')
    if not sign then return nil end
    shift = (tonumber(zh) * 60 + tonumber(zm)) * 60 * (sign == '-' and -1 or 1)
  end
  if mo <= 2 then y = y - 1 end
  local era_year = y % 400
  local day_of_year = math.floor((153 * ((mo + 9) % 12) + 2) / 5) + d - 1
  local day_of_era = era_year * 365 + math.floor(era_year / 4) - math.floor(era_year / 100) + day_of_year
  local days = math.floor(y / 400) * 146097 + day_of_era - 719468
  local seconds = ((days * 24 + tonumber(h)) * 60 + tonumber(mi)) * 60 + (tonumber(s) or 0) - shift
  return seconds * 1000 + math.floor((tonumber('0' .. fraction) or 0) * 1000)
end

-- Whether a task's own time is over.
local function has_expired(raw, now)
  if not string.find(raw, '"expiresAt"', 1, true) then return false end
  local ok, task = pcall(cjson.decode, raw)
  if not ok or type(task) ~= 'table' or type(task.expiresAt) ~= 'string' then return false end
  local ends = iso_ms(task.expiresAt)
  return ends ~= nil and ends <= now
end
