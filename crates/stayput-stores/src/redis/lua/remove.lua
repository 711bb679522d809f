-- Leaves a tombstone. KEYS: the record's. ARGV: the tombstone's lifetime.
-- Answers the header of what was there.
local _, stored = header(KEYS[1])
bury(KEYS[1], ARGV[1])
return stored
