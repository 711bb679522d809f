-- The rest of replace.lua, behind record.lua: most writes have no need of that, which costs time in every run.
local absolute = time(record, ABSOLUTE)
if absolute > time(stored, ABSOLUTE)
  or subject(record) ~= subject(stored)
  or record:sub(CREATED, CREATED + 7) ~= stored:sub(CREATED, CREATED + 7) then
  return redis.error_reply('CHANGED the subject, the beginning or the end of a session')
end
local expires = math.min(math.max(time(record, EXPIRES), time(stored, EXPIRES)), absolute)
if expires ~= time(record, EXPIRES) then
  record = record:sub(1, EXPIRES - 1) .. struct.pack('>I8', expires) .. record:sub(EXPIRES + 8)
end
redis.call('SET', KEYS[1], record, 'PXAT', deadline(expires))
return 1
