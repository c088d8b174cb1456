-- Puts a task that has left its lists onto the dead list. Its id stays known, so that it is not queued again.
local function bury(dead, leases, ledger, session, raw, field, reason, attempts, now)
  redis.call('HDEL', leases, field)
  redis.call('LPUSH', dead, cjson.encode({ raw = raw, reason = reason, at = now, attempts = attempts }))
  record(ledger, 'dead', session, task_id(raw), now, 'n', whole(attempts), 'r', reason)
end
