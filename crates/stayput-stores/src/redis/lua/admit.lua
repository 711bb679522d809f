-- Counts a session in among its subject's. KEYS: the subject's index, admissions and epoch.
-- ARGV: the login's epoch; the session's member and absolute deadline; how many there may be (0 for any number); whether one
-- more is rejected (1) or ends others (0); the key of the session that this one replaces; what is known of those admitted
-- before: each one's member and a letter, `l` for live, `r` for a remainder, `g` for gone; and until when all that may be relied on.
-- Answers what came of it, how many sessions this ended, and the members that are ending: those, and what others left undone.
local known = {}
for at = 1, #ARGV[7], 41 do
  known[ARGV[7]:sub(at, at + 39)] = ARGV[7]:sub(at + 40, at + 40)
end

local admitted, others, ending, last = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), {}, {}, 0
local gone = {}
local is_admitted, is_ending, is_known = false, false, true
for at = 1, #admitted, 2 do
  local member, rank = admitted[at], tonumber(admitted[at + 1])
  if rank < 0 then
    ending[#ending + 1] = member
    is_ending = is_ending or member == ARGV[2]
  else
    last = rank
    if member == ARGV[2] then
      is_admitted = true
    elseif known[member] == 'g' then
      gone[#gone + 1] = member
    elseif known[member] ~= 'r' and member:sub(1, 32) ~= ARGV[6] then
      -- One that was admitted since the others were looked at is live.
      is_known = is_known and known[member] ~= nil
      others[#others + 1] = member
    end
  end
end

local function answer(outcome, ended)
  -- Last, and for once without a word if it fails: an empty set is none, and in a cluster's slot that is on the move no script
  -- may touch what isn't there any more.
  for at = 1, #gone do
    redis.pcall('ZREM', KEYS[1], gone[at])
    redis.pcall('ZREM', KEYS[2], gone[at])
  end
  return { outcome, ended or 0, ending }
end

if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[1] then
  return answer('revoked')
elseif is_ending then
  return answer('missing')
elseif is_admitted then
  return answer('admitted')
end

local now = redis.call('TIME')
if now[1] * 1000 + math.floor(now[2] / 1000) > tonumber(ARGV[8]) then
  return answer('again')
end

local most = tonumber(ARGV[4])
local excess = most > 0 and math.max(#others + 1 - most, 0) or 0
if excess > 0 and ARGV[5] == '1' then
  return answer(is_known and 'rejected' or 'again')
end
local ended = {}
for at = 1, excess do
  redis.call('ZADD', KEYS[2], -1, others[at])
  ended[at] = others[at]
end
for at = 1, #ending do
  ended[excess + at] = ending[at]
end
ending = ended

redis.call('ZADD', KEYS[2], last + 1, ARGV[2])
redis.call('ZADD', KEYS[1], 'GT', ARGV[3], ARGV[2])
local until_then = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[1], until_then)
redis.call('PEXPIREAT', KEYS[2], until_then)
return answer('admitted', excess)
