-- Removes a record if it is the subject's and began when it is said to; one that can't be read is held to be meant.
-- KEYS: the record's. ARGV: the tombstone's lifetime, the subject, the beginning.
-- Answers the header of what was removed, or nothing.
local readable, stored = header(KEYS[1])
if stored == '' or stored == '\0' then
  return false
elseif readable and (subject(readable) ~= ARGV[2] or readable:sub(CREATED, CREATED + 7) ~= ARGV[3]) then
  return false
end
bury(KEYS[1], ARGV[1])
return stored
