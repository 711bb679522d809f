-- Counts a session in among its subject's. KEYS: the subject's bucket and epoch.
-- ARGV: the login's epoch; the session's member and absolute deadline; the first score of the subject's range; how many there
-- may be (0 for any number); whether one more is rejected (1) or ends others (0); the key of the session that this one replaces;
-- what is known of those admitted before: each one's member and a letter, `l` for live, `r` for a remainder, `g` for gone, `x`
-- for another subject's; and until when all that may be relied on.
-- Answers what came of it, how many sessions this ended, and the members that are ending: those, and what others left undone.
local first, most, session = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[2]:sub(1, SESSION)
local known = {}
for at = 1, #ARGV[8], MEMBER + 1 do
  known[ARGV[8]:sub(at, at + MEMBER - 1)] = ARGV[8]:sub(at + MEMBER, at + MEMBER)
end

local others, ending, gone = {}, {}, {}
local is_ending, is_known = false, true
local score = redis.call('ZSCORE', KEYS[1], ARGV[2])
local is_admitted = score and score - first > 0 and score - first < ENDING
-- Without a limit the others don't matter, however many there are.
local from = most > 0 and first + 1 or first + ENDING
local found = redis.call('ZRANGEBYSCORE', KEYS[1], from, first + ENDING, 'WITHSCORES')
for at = 1, #found, 2 do
  local member = found[at]
  local is_self = member:sub(1, SESSION) == session
  if #member ~= MEMBER then
    -- Somebody else's.
  elseif found[at + 1] - first == ENDING then
    ending[#ending + 1] = member
    is_ending = is_ending or is_self
  elseif is_self then
    is_admitted = true
  elseif known[member] == 'g' then
    gone[#gone + 1] = member
  elseif known[member] ~= 'r' and known[member] ~= 'x' and member:sub(1, 32) ~= ARGV[7] then
    is_known = is_known and known[member] ~= nil
    others[#others + 1] = member
  end
end

local function answer(outcome, ended)
  -- Last, and for once without a word if it fails: an empty set is none, and in a cluster's slot that is on the move no script
  -- may touch what isn't there any more.
  for at = 1, #gone do
    redis.pcall('ZREM', KEYS[1], gone[at])
  end
  return { outcome, ended or 0, ending }
end

if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then
  return answer('revoked')
elseif is_ending then
  return answer('missing')
elseif is_admitted then
  return answer('admitted')
end

local now = now()
if now > tonumber(ARGV[9]) then
  return answer('again')
end

local excess = most > 0 and math.max(#others + 1 - most, 0) or 0
if excess > 0 and not is_known then
  -- Of one that was admitted since the others were looked at nobody here knows whose it is.
  return answer('again')
elseif excess > 0 and ARGV[6] == '1' then
  return answer('rejected')
end
local ended = {}
for at = 1, excess do
  redis.call('ZADD', KEYS[1], first + ENDING, others[at])
  ended[at] = others[at]
end
for at = 1, #ending do
  ended[excess + at] = ending[at]
end
ending = ended

local function last_place()
  local last = redis.call('ZREVRANGEBYSCORE', KEYS[1], first + ENDING - 1, first, 'WITHSCORES', 'LIMIT', '0', '1')
  return last[2] and last[2] - first or 0
end

local place = last_place() + 1
if place == ENDING and redis.call('ZCOUNT', KEYS[1], first + 1, first + ENDING - 1) < ENDING / 2 then
  -- The order has come to its end, after so many logins that were never all over: it is counted anew.
  for at, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], first + 1, first + ENDING - 1)) do
    redis.call('ZADD', KEYS[1], first + at, member)
  end
  place = last_place() + 1
end
redis.call('ZADD', KEYS[1], first + math.min(place, ENDING - 1), ARGV[2])
keep(KEYS[1], ARGV[3], now)
return answer('admitted', excess)
