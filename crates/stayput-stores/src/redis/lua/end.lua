-- Removes a record if it is the subject's and began when it is said to, which stands in the same place in all formats, those to come
-- too; what is too short for that is held to be meant.
-- KEYS: the record's. ARGV: the tombstone's lifetime, the subject, the beginning as a member of the index has it.
-- Answers the header of what was removed; nothing if the session isn't there; or 0 if it is another subject's.
local _, stored = header(KEYS[1])
if stored == '' or stored == '\0' then
  return false
elseif #stored >= SUBJECT - 1 then
  -- A time has more bits than a number here; 225 is what 2^32 leaves in a division by the prime.
  local high, low = struct.unpack('>I4I4', stored, CREATED)
  if struct.pack('>I2', (high * 225 + low) % BEGINNINGS) ~= ARGV[3] then
    return false
  elseif subject(stored) ~= ARGV[2] then
    return 0
  end
end
bury(KEYS[1], ARGV[1])
return stored
