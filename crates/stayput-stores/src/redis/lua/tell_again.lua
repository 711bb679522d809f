-- Has what is under the key told once more to those who listen to changes, and leaves it as it is. KEYS: the record's.
-- By its deadline, since a server that is out of memory refuses all else.
local left = redis.call('PTTL', KEYS[1])
if left > 0 then
  redis.call('PEXPIRE', KEYS[1], left)
end
