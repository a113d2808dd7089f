"""What the broker does by itself: one Lua script for each operation on one stream.

All keys of a stream stand in one slot of a cluster (see `keys`), so that a script sees all of them.
Redis does nothing else while it runs a script, and so does it wholly or not at all.

The hash of a stream has these fields: `v` the layout's version, `i` the identity of the server that
wrote it, `e` epoch, `o` offset of the last entry, `b` bytes that are kept; `c`, `z` and `a` its
history (count, bytes, milliseconds); `n` and `g` how many publications have their keys in the newer
of two hashes of these, and since when; `x` when the times of expiry were set; `R` and `V` the epoch
and version of its roster, and `B` the bytes of the roster's data; `F` when a generation of a
session was noted last. Entries are in a stream of Redis, under the id OFFSET-0. The hash of a
session: `u` until when it is kept, `g` generation, `w` owner, `k` digests of its keys, `r` record;
`n` and `p` which claim was the last, and the owner before it.
"""

import hashlib

from sono_core.messaging.lossless import FENCE_AGE, KEY_AGE, MAX_KEYS

LAYOUT = "1"
"""Of keys and fields. A script of another layout refuses to touch what this one has written."""
IDLE = 3600
"""Seconds after which a stream is forgotten that nobody follows, reads or publishes in, unless its
history is kept for longer."""
REFRESH = 10.0
"""Seconds after which a publication says again when all that expires."""
OTHER = "SONOOTHER"
"""Begins the refusal of what another server wrote."""
SURE = "!"
"""Begins the identity if the server was asked for it since it refused: what another one wrote is
let go then. A server gets another identity while it lives, when its first replica comes, and a node
with the old one must not let go what one with the new one has written."""

_KEY_AGE = int(KEY_AGE * 1000)
_FENCE_AGE = int(FENCE_AGE * 1000)
_LATER = int(2 * REFRESH * 1000)  # what expires does so that much later than it may

# Of the broker, in milliseconds: the nodes' clocks may be hours apart. Tests of time give another.
_NOW = """
local now = tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
"""

_PRELUDE = f"""
local inst, fresh, channel = ARGV[1], ARGV[2], ARGV[4]
local sure = string.sub(inst, 1, 1) == '{SURE}'
if sure then inst = string.sub(inst, 2) end
local m, s, k, o, r, h = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local call = redis.call
{_NOW}
-- tostring writes large numbers with an exponent
local function int(n) return string.format('%.0f', n) end
local f = call('HMGET', m, 'v', 'i', 'e', 'o', 'b', 'c', 'z', 'a', 'R', 'V', 'B',
  'n', 'g', 'x', 'F')
if f[1] and f[1] ~= '{LAYOUT}' then
  return redis.error_reply('SONOLAYOUT ' .. f[1])
end
if f[2] and f[2] ~= inst then
  if not sure then return redis.error_reply('{OTHER}') end
  -- nobody knows what it has lost, so nothing of before counts
  call('DEL', m, s, k, o, r, h)
  f = {{}}
end
local epoch, top, bytes = f[3], tonumber(f[4] or 0), tonumber(f[5] or 0)
local count, most, age = tonumber(f[6] or 0), tonumber(f[7] or 0), tonumber(f[8] or 0)
-- that all of a stream is not forgotten while it is used
local function keep()
  local idle = math.max({IDLE * 1000}, age + {_LATER})
  call('PEXPIRE', m, idle)
  if f[9] then call('PEXPIRE', r, idle) end
end
local function ensure()
  if not epoch then
    epoch, top, bytes = fresh, 0, 0
    call('DEL', s, k, o)
    call('HSET', m, 'v', '{LAYOUT}', 'i', inst, 'e', epoch, 'o', 0, 'b', 0)
  end
  keep()
end
-- Lets go what exceeds the history's bounds; returns the first offset that is kept.
local function trim()
  local kept = call('XLEN', s)
  if kept == 0 then bytes = 0 end
  local dropped = 0
  while kept > 0 do
    -- each of them as [id, [b, body, z, size, t, time, a, author]]
    local heads = call('XRANGE', s, '-', '+', 'COUNT', 2)
    for _, head in ipairs(heads) do
      local size, at = tonumber(head[2][4]), tonumber(head[2][6])
      if not (kept > count or bytes > most or now - at > age) then
        if dropped > 0 then call('HSET', m, 'b', int(bytes)) end
        return tonumber(string.match(head[1], '^%d+'))
      end
      call('XDEL', s, head[1])
      kept, bytes, dropped = kept - 1, bytes - size, dropped + 1
    end
  end
  if dropped > 0 then call('HSET', m, 'b', int(bytes)) end
  return top + 1
end
-- tells those that follow the stream
local function tell(text) call('PUBLISH', channel, text) end
local function followed() return call('PUBSUB', 'NUMSUB', channel)[2] > 0 end
local function end_roster()
  if call('HLEN', r) == 0 and not followed() then call('HDEL', m, 'R', 'V', 'B') end
end
local function ensure_roster()
  if not f[9] then
    f[9], f[10], f[11] = fresh, '0', '0'
    call('DEL', r)
    call('HSET', m, 'v', '{LAYOUT}', 'i', inst, 'R', f[9], 'V', 0, 'B', 0)
  end
  keep()
end
local function changed(member, present, data)
  f[10] = int(f[10] + 1)
  call('HSET', m, 'V', f[10], 'B', f[11])
  keep()
  tell('C ' .. f[9] .. ' ' .. f[10] .. ' ' .. present .. ' ' .. call('HLEN', r) .. ' '
    .. #member .. '\\n' .. member .. data)
end
"""

# A server whose memory is full refuses the first command of a script that writes, if it takes
# memory, and lets a script go on that has written anything. So what grows begins with such a one.
_GROW = f"""
call('HSET', m, 'v', '{LAYOUT}')
"""

# Notes a generation of a session, which is not lower than `seen`.
_NOTE_GENERATION = f"""
local function note(session, generation, seen)
  if not seen and call('HLEN', h) >= {MAX_KEYS} then call('DEL', h) end
  call('HSET', h, session, generation .. ' ' .. int(now))
  call('PEXPIRE', h, {_FENCE_AGE})
  call('HSET', m, 'F', int(now))
end
"""

# For each publication, so with few commands: what is too much goes when it is an eighth, or when
# somebody reads, and times of expiry are set every REFRESH seconds.
_PUBLISH = f"""{_NOTE_GENERATION}
local body, size, key = ARGV[5], tonumber(ARGV[6]), ARGV[11]
-- Generations above 1 are noted, and where none was lately nothing is looked up.
local session, generation, seen, noted = ARGV[13], tonumber(ARGV[14]), nil, nil
if session ~= '' and (generation > 1 or f[15] and now - f[15] <= {_FENCE_AGE}) then
  seen, noted = string.match(call('HGET', h, session) or '', '^(%d+) (%d+)$')
  if seen and tonumber(seen) > generation and now - noted <= {_FENCE_AGE} then
    return redis.error_reply('SONOFENCED')
  end
end
if not epoch then
  if ARGV[12] == '1' then return false end
  {_GROW}
  ensure()
end
if key ~= '' then
  -- two generations: each ends with its age, or when it has enough
  for _, keys in ipairs({{k, o}}) do
    local at, since = string.match(call('HGET', keys, key) or '', '^(%d+) (%d+)$')
    if at and now - since <= {_KEY_AGE} then return {{epoch, at}} end
  end
end
if generation > 1 and (seen ~= ARGV[14] or now - noted > {int(REFRESH * 1000)}) then
  note(session, ARGV[14], seen)
end
local changes = ARGV[10] == '1' and (f[6] ~= ARGV[7] or f[7] ~= ARGV[8] or f[8] ~= ARGV[9])
if changes or not f[6] then
  call('HSET', m, 'c', ARGV[7], 'z', ARGV[8], 'a', ARGV[9])
  count, most, age, changes = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), true
end
top = top + 1
local at = int(top)
local begins = changes
if count > 0 and size <= most then
  call('XADD', s, at .. '-0', 'b', body, 'z', size, 't', int(now), 'a', ARGV[15])
  local kept = call('XLEN', s)
  if kept == 1 then bytes, begins = 0, true end
  bytes = bytes + size
  if kept > count * 1.125 or bytes > most * 1.125 then trim() end
end
local keys, began, looked = tonumber(f[12] or 0), tonumber(f[13] or 0), tonumber(f[14] or 0)
if key ~= '' then
  if keys >= {MAX_KEYS} or now - began > {_KEY_AGE} then
    if call('EXISTS', k) == 1 then call('RENAME', k, o) end
    keys, began, begins = 0, now, true
  end
  keys = keys + 1
  call('HSET', k, key, at .. ' ' .. int(now))
end
if begins or now - looked > {int(REFRESH * 1000)} then
  looked = now
  keep()
  call('PEXPIRE', s, age + {_LATER})
  call('PEXPIRE', k, {_KEY_AGE + _LATER})
  call('PEXPIRE', o, {_KEY_AGE + _LATER})
end
call('HSET', m, 'o', at, 'b', int(bytes), 'n', keys, 'g', int(began), 'x', int(looked))
tell('E ' .. epoch .. ' ' .. at .. ' ' .. size .. '\\n' .. body)
return {{epoch, at}}
"""

_ERASE = """
local erased, after = 0, '-'
repeat
  local part = call('XRANGE', s, after, '+', 'COUNT', 50)
  for _, entry in ipairs(part) do
    after = '(' .. entry[1]
    if entry[2][8] == ARGV[5] then
      call('XDEL', s, entry[1])
      erased, bytes = erased + 1, bytes - tonumber(entry[2][4])
    end
  end
until #part < 50
if erased > 0 then call('HSET', m, 'b', int(bytes)) end
return erased
"""

_READ = """
local limit = tonumber(ARGV[7])
ensure()
local first = trim()
local after = ARGV[5] == epoch and tonumber(ARGV[6]) or 0
local upto, left, found, full = top, limit, {}, false
while not full do
  local part = call('XRANGE', s, int(after + 1), '+', 'COUNT', 50)
  if #part == 0 then break end
  for _, entry in ipairs(part) do
    local offset = tonumber(string.match(entry[1], '^%d+'))
    if left then
      left = left - tonumber(entry[2][4])
      if left < 0 and #found > 0 then
        upto, full = after, true
        break
      end
    end
    after = offset
    found[#found + 1] = int(offset)
    found[#found + 1] = entry[2][4]
    found[#found + 1] = entry[2][2]
  end
end
return {epoch, int(top), int(first), int(upto), found}
"""

_PAGE = """
ensure()
trim()
local last, count = '+', tonumber(ARGV[7])
if ARGV[5] ~= '' then
  if ARGV[5] ~= epoch then return {epoch, 0, {}} end
  local before = tonumber(ARGV[6])
  if before < 1 then return {epoch, 0, {}} end
  last = int(before - 1)
end
local found, more = {}, 0
for n, entry in ipairs(call('XREVRANGE', s, last, '-', 'COUNT', count + 1)) do
  if n > count then
    more = 1
  else
    found[#found + 1] = string.match(entry[1], '^%d+')
    found[#found + 1] = entry[2][4]
    found[#found + 1] = entry[2][2]
  end
end
return {epoch, more, found}
"""

_PIN = """
ensure()
return {epoch, int(top), f[9] or '', f[10] or ''}
"""

_FENCE = f"""{_NOTE_GENERATION}
local seen = tonumber(string.match(call('HGET', h, ARGV[5]) or '', '^%d+'))
ensure()
if not seen or seen <= tonumber(ARGV[6]) then note(ARGV[5], ARGV[6], seen) end
return {{epoch, int(top)}}
"""

# How far several streams are: KEYS are the hash and the roster of each. What another server wrote
# is none.
_TOPS = f"""
local found = {{}}
local inst = ARGV[1]
if string.sub(inst, 1, 1) == '{SURE}' then inst = string.sub(inst, 2) end
for n = 1, #KEYS, 2 do
  local f = redis.call('HMGET', KEYS[n], 'v', 'i', 'e', 'o', 'R', 'V', 'a')
  if f[1] == '{LAYOUT}' and f[2] == inst and f[3] then
    local idle = math.max({IDLE * 1000}, tonumber(f[7] or 0) + {_LATER})
    redis.call('PEXPIRE', KEYS[n], idle)
    if f[5] then redis.call('PEXPIRE', KEYS[n + 1], idle) end
    found[#found + 1] = {{f[3], f[4], f[5] or '', f[6] or ''}}
  else
    found[#found + 1] = {{}}
  end
end
return found
"""

_FREE = """
if followed() then return 0 end
if f[9] and call('HLEN', r) > 0 then
  call('DEL', s, k, o, h)
  call('HDEL', m, 'e', 'o', 'b', 'c', 'z', 'a', 'n', 'g', 'x', 'F')
else
  call('DEL', m, s, k, o, r, h)
end
return 1
"""

_ENTER = f"""{_GROW}
local member, node, data, size = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local known = call('HGET', r, member)
local order, taken, former
if known then
  local _, last, ordered, charged = string.find(known, '^%S+ (%d+) (%d+) ')
  order, taken, former = ordered, tonumber(charged), string.sub(known, last + 1)
end
if former and ARGV[10] == '1' then data, size = former, taken end
ensure_roster()
local held = tonumber(f[11]) + size - (taken or 0)
if held > tonumber(ARGV[9]) and size > (taken or 0) then return redis.error_reply('SONOFULL') end
order = order or int(f[10] + 1)
call('HSET', r, member, node .. ' ' .. order .. ' ' .. int(size) .. ' ' .. data)
if former ~= data then
  f[11] = int(held)
  changed(member, 1, data)
end
return {{f[9], f[10], data, int(size)}}
"""

# A member may have come to another node meanwhile, which speaks for it then.
_EXIT = """
if not f[9] then return false end
local node, charged = string.match(call('HGET', r, ARGV[5]) or '', '^(%S+) %d+ (%d+) ')
if node == ARGV[6] then
  call('HDEL', r, ARGV[5])
  f[11] = int(tonumber(f[11]) - tonumber(charged))
  changed(ARGV[5], 0, '')
  end_roster()
end
return {f[9], f[10]}
"""

_REAP = """
if not f[9] then return 0 end
local left, found = tonumber(ARGV[6]), call('HGETALL', r)
for n = 1, #found, 2 do
  local node, charged = string.match(found[n + 1], '^(%S+) %d+ (%d+) ')
  if node == ARGV[5] then
    if left == 0 then return 1 end
    left = left - 1
    call('HDEL', r, found[n])
    f[11] = int(tonumber(f[11]) - tonumber(charged))
    changed(found[n], 0, '')
  end
end
end_roster()
return 0
"""

_MEMBERS = """
if not f[9] and followed() then ensure_roster() end
return {f[9] or fresh, f[10] or '0', call('HGETALL', r)}
"""

_END_ROSTER = """
if f[9] then end_roster() end
return 1
"""

_TELL = """
redis.call('PUBLISH', KEYS[1], ARGV[5])
return 1
"""

# The leases of nodes: when each ends, and under '=' when one was renewed last. A broker that stood
# still for a while has let nobody renew a lease, so all last longer then. What a crashed node has
# left is given to one node to see to; if that crashes, too, to another one 10 s later.
_LEASE = f"""
{_NOW}
local nodes, name, length = KEYS[1], ARGV[5], tonumber(ARGV[6])
local call = redis.call
local still = now - tonumber(call('ZSCORE', nodes, '=') or now)
if still > 3000 or still < 0 then  -- or its clock was set back
  for _, one in ipairs(call('ZRANGE', nodes, 0, -1)) do call('ZINCRBY', nodes, still, one) end
end
local ends = tonumber(call('ZSCORE', nodes, name))
if ARGV[7] == '0' and (not ends or ends <= now) then return {{0, {{}}}} end
call('ZADD', nodes, now, '=', now + length, name)
call('EXPIRE', nodes, {IDLE})
local crashed = {{}}
for _, one in ipairs(call('ZRANGEBYSCORE', nodes, '-inf', now, 'LIMIT', 0, 5)) do
  if one ~= '=' then
    local former = string.match(one, '^!?(.*)')
    call('ZREM', nodes, one)
    call('ZADD', nodes, now + 10000, '!' .. former)
    crashed[#crashed + 1] = former
  end
end
return {{1, crashed}}
"""

_NODES = """
local found = {}
for _, one in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if not string.match(one, '^[=!]') then found[#found + 1] = one end
end
return found
"""

_BURY = """
redis.call('ZREM', KEYS[1], ARGV[5], '!' .. ARGV[5])
return 1
"""

_NOTE = f"""
redis.call('HSET', KEYS[1], ARGV[5], ARGV[6])
redis.call('EXPIRE', KEYS[1], {IDLE})
return 1
"""

_UNNOTE = """
redis.call('HDEL', KEYS[1], ARGV[5])
return 1
"""

_NOTED = f"""
redis.call('EXPIRE', KEYS[1], {IDLE})
return redis.call('HGETALL', KEYS[1])
"""

# Some of the streams of Redis that a server has: the whole is asked in as many steps as it takes.
_STREAMS = """
return redis.call('SCAN', ARGV[6], 'MATCH', ARGV[5], 'COUNT', 256, 'TYPE', 'stream')
"""

# Of a session.
_SAVE = f"""
{_NOW}
local call, age = redis.call, tonumber(ARGV[5])
local known = call('HMGET', KEYS[1], 'u', 'g')
if known[1] and tonumber(known[1]) > now and tonumber(known[2]) > tonumber(ARGV[7]) then
  return redis.error_reply('SONOFENCED')
end
call('HSET', KEYS[1], 'u', string.format('%.0f', now + age), 'w', ARGV[6], 'g', ARGV[7],
  'k', ARGV[8], 'r', ARGV[9])
call('PEXPIRE', KEYS[1], age)
return 1
"""

# Gives nothing unless that key opens it. A claim that is made twice is one.
_LOAD = f"""
{_NOW}
local call = redis.call
local f = call('HMGET', KEYS[1], 'u', 'g', 'w', 'k', 'r', 'n', 'p')
if not f[1] or tonumber(f[1]) <= now then return false end
if not string.find(' ' .. f[4] .. ' ', ' ' .. ARGV[5] .. ' ', 1, true) then return false end
"""

_CLAIM = f"""{_LOAD}
if f[6] == ARGV[2] then return {{f[5], f[2], f[7]}} end
local generation = call('HINCRBY', KEYS[1], 'g', 1)
call('HSET', KEYS[1], 'w', ARGV[6], 'n', ARGV[2], 'p', f[3])
return {{f[5], tostring(generation), f[3]}}
"""

_DROP = """
local g = redis.call('HGET', KEYS[1], 'g')
if g and tonumber(g) > tonumber(ARGV[5]) then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""


class Script:
    """One of them, as `EVALSHA` wants it: for a server alone, and for those of a cluster, each of
    which tells what is in its own slots (sharded pub/sub)."""

    __slots__ = ("shas", "texts")

    def __init__(self, text: str, prelude: str = _PRELUDE) -> None:
        alone = prelude + text
        sharded = alone.replace("'PUBLISH'", "'SPUBLISH'").replace("'NUMSUB'", "'SHARDNUMSUB'")
        self.texts: tuple[str, str] = (alone, sharded)
        """By whether the server is in a cluster."""
        self.shas: tuple[str, ...] = tuple(
            hashlib.sha1(one.encode(), usedforsecurity=False).hexdigest() for one in self.texts
        )


PUBLISH = Script(_PUBLISH)
"""ARGV: body, size; count, size and age (ms) of the history, and whether it counts although the
stream has another; key; whether there must be a stream; session, generation and author. Gives epoch
and offset, or nothing."""
ERASE = Script(_ERASE)
"""ARGV: an author. Gives how many entries that were."""
STREAMS = Script(_STREAMS, "")
"""KEYS: any name in a slot of the server. ARGV: a pattern of streams' keys, and where to go on.
Gives where to go on, and keys."""
READ = Script(_READ)
"""ARGV: epoch, offset, limit. Gives epoch, top, first, upto; offset, size, body of each entry."""
PAGE = Script(_PAGE)
"""ARGV: epoch or '', offset, count. Gives epoch, whether others are before, and entries, the last
first."""
PIN = Script(_PIN)
"""Gives epoch and top, and epoch and version of the roster."""
FENCE = Script(_FENCE)
"""ARGV: session, generation. Gives epoch and top."""
FREE = Script(_FREE)
"""Gives whether it is forgotten."""
ENTER = Script(_ENTER)
"""ARGV: member, node, data, bytes that count for it, bytes of a roster, whether data that is there
stays. Gives the version, and data and bytes that are there."""
EXIT = Script(_EXIT)
"""ARGV: member, node. Gives the version, or nothing."""
REAP = Script(_REAP)
"""ARGV: node, members. Announces that those of a node are gone; gives whether there are more."""
MEMBERS = Script(_MEMBERS)
"""Gives the version, and each member with `NODE ORDER BYTES DATA`."""
END_ROSTER = Script(_END_ROSTER)
"""Forgets it if it is empty and nobody looks at it."""
TOPS = Script(_TOPS, "")
"""KEYS: hash and roster of several streams. Gives of each what `PIN` gives, or nothing."""
LEASE = Script(_LEASE, "")
"""KEYS: the nodes. ARGV: node, milliseconds, whether it is new. Gives whether it has its lease,
and nodes that have crashed."""
NODES = Script(_NODES, "")
"""KEYS: the nodes. Gives those that have leases."""
BURY = Script(_BURY, "")
"""KEYS: the nodes. ARGV: one that is no more."""
NOTE = Script(_NOTE, "")
"""KEYS: of a node. ARGV: stream, whether clients are told of its channel."""
UNNOTE = Script(_UNNOTE, "")
"""KEYS: of a node. ARGV: stream."""
NOTED = Script(_NOTED, "")
"""KEYS: of a node. Gives each stream, and whether clients are told of it."""
TELL = Script(_TELL, "")
"""KEYS: a channel. ARGV: what its followers are told."""
SAVE = Script(_SAVE, "")
"""KEYS: of a session. ARGV: milliseconds, owner, generation, digests of its keys, record."""
LOAD = Script(f"{_LOAD} return {{f[5], f[2], f[3]}}", "")
"""KEYS: of a session. ARGV: digest of a key. Gives record, generation and owner, or nothing."""
CLAIM = Script(_CLAIM, "")
"""KEYS: of a session. ARGV: digest of a key, the new owner. Gives record, the new generation and
the former owner, or nothing."""
DROP = Script(_DROP, "")
"""KEYS: of a session. ARGV: generation. Gives whether it is forgotten."""
LIVE = Script("return redis.call('SET', KEYS[1], '1', 'PX', ARGV[5])", "")
"""KEYS: of a node. ARGV: milliseconds for which it is there."""
ALIVE = Script("return redis.call('EXISTS', KEYS[1])", "")
"""KEYS: of a node. Gives whether it is there."""
REMOVE = Script("return redis.call('DEL', KEYS[1])", "")
"""KEYS: of what is not needed any more."""
ALL = (
    PUBLISH,
    ERASE,
    STREAMS,
    READ,
    PAGE,
    PIN,
    FENCE,
    FREE,
    ENTER,
    EXIT,
    REAP,
    MEMBERS,
    END_ROSTER,
    TOPS,
    LEASE,
    NODES,
    BURY,
    NOTE,
    UNNOTE,
    NOTED,
    TELL,
    SAVE,
    LOAD,
    CLAIM,
    DROP,
    LIVE,
    ALIVE,
    REMOVE,
)
