//! The Lua scripts: each is one step, so that a dropped call has happened in full or not at all.
//!
//! A key has three names in one slot: its entry, its lease and its last fence number. A fence number is the server's time
//! in microseconds, or one more than the last one: it increases even if Redis loses everything.

use std::sync::LazyLock;

/// A script, its digest, and the name of the function that does the same.
pub(crate) struct Script {
    pub(crate) code: String,
    pub(crate) sha1: String,
    name: &'static str,
    body: &'static str,
}

impl Script {
    fn new(name: &'static str, body: &'static str) -> Self {
        let code = format!("{COMMON}{body}");
        let sha1 = redis::Script::new(&code).get_hash().to_owned();
        Self {
            code,
            sha1,
            name,
            body,
        }
    }

    /// Returns the name of its function in the [`LIBRARY`].
    pub(crate) fn function(&self) -> String {
        format!("{}_{}", LIBRARY.name, self.name)
    }
}

/// The scripts as functions of Redis 7.
pub(crate) struct Library {
    /// Differs if a script differs, so that processes of two versions have a library each.
    name: String,
    pub(crate) code: String,
}

pub(crate) static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let functions = [
        (&LOOK_UP, "'no-writes'"),
        (&PUT, ""),
        (&REMOVE, "'allow-oom'"),
        (&TAKE_LEASE, ""),
        (&LOOK_UP_OR_LEASE, ""),
        (&EXTEND, "'allow-oom'"),
        (&RELEASE, "'allow-oom'"),
    ];
    let all: String = functions.iter().map(|(script, _)| &*script.code).collect();
    let digest = redis::Script::new(&all).get_hash().to_owned();
    let name = format!("hallpass_{}", &digest[..8]);
    // One function with the common part, since it depends on the keys of a call.
    let parts = functions
        .map(|(script, _)| format!("if part == '{}' then{}end\n", script.name, script.body));
    let registrations = functions.map(|(script, flags)| {
        let part = script.name;
        format!(
            "redis.register_function{{function_name = '{name}_{part}', flags = {{{flags}}}, callback = function(KEYS, ARGV) return run('{part}', KEYS, ARGV) end}}\n"
        )
    });
    let code = format!(
        "#!lua name={name}\nlocal function run(part, KEYS, ARGV){COMMON}{}end\n{}",
        parts.concat(),
        registrations.concat()
    );
    Library { name, code }
});

/// The number of digits of a fence number, which begins an entry. A double represents all of them exactly.
pub(crate) const FENCE_DIGITS: usize = 16;

/// A value of another type, or one that these scripts did not write, counts as none, and is overwritten.
const COMMON: &str = r"
local ENTRY, LEASE, FENCE = KEYS[1], KEYS[2], KEYS[3]
local function number(digits)
  local value = digits and string.match(digits, '^%d+$') and tonumber(digits)
  if value and value <= 9e15 then return value end
end
local function entry_fence()
  local head = redis.pcall('GETRANGE', ENTRY, 0, 15)
  return type(head) == 'string' and #head == 16 and number(head) or 0
end
local function lease()
  local value = redis.pcall('GET', LEASE)
  if type(value) ~= 'string' or redis.call('PTTL', LEASE) < 0 then return nil end
  local fence, owner = string.match(value, '^(%d+):(%d+)$')
  return number(fence), owner, fence
end
local function next_fence()
  local time = redis.call('TIME')
  local last = redis.pcall('GET', FENCE)
  last = math.max(type(last) == 'string' and number(last) or 0, entry_fence())
  local fence = string.format('%016.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', FENCE, fence, 'PX', 86400000)
  return fence
end
local function publish(channel, message)
  redis.pcall('PUBLISH', channel, message)
end
local function find()
  local value = redis.pcall('GET', ENTRY)
  if type(value) ~= 'string' or #value < 16 or entry_fence() == 0 then return nil end
  return value, redis.call('PTTL', ENTRY)
end
local function take_lease(ttl, owner)
  local held, _, digits = lease()
  if held then return 0, digits end
  local fence = next_fence()
  redis.call('SET', LEASE, fence .. ':' .. owner, 'PX', ttl)
  return 1, fence
end
";

/// Returns the entry and its remaining time to live in milliseconds, or nothing.
pub(crate) static LOOK_UP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look_up",
        r"
local value, ttl = find()
return value and {value, ttl} or false
",
    )
});

/// Arguments: channel, message, entry, time to live, and the lease's fence and owner or two empty texts.
pub(crate) static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "put",
        r"
local ttl, fence, owner = ARGV[4], ARGV[5], ARGV[6]
if fence ~= '' then
  local mine, held, holder = tonumber(fence), lease()
  if held and (held > mine or held == mine and holder ~= owner) then return 0 end
  if entry_fence() > mine then return 0 end
else
  if entry_fence() > 0 and redis.call('PTTL', ENTRY) >= tonumber(ttl) then return 0 end
  fence = next_fence()
end
redis.call('SET', ENTRY, fence .. ARGV[3], 'PX', ttl)
publish(ARGV[1], ARGV[2])
return 1
",
    )
});

/// Arguments: channel, message, fence.
pub(crate) static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "remove",
        r"
if entry_fence() ~= tonumber(ARGV[3]) then return 0 end
redis.call('DEL', ENTRY)
publish(ARGV[1], ARGV[2])
return 1
",
    )
});

/// Arguments: time to live, owner. Returns whether the lease was granted, and the fence of the one in force.
pub(crate) static TAKE_LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "take_lease",
        r"
return {take_lease(ARGV[1], ARGV[2])}
",
    )
});

/// Arguments: the fence of an entry that counts as none or an empty text, and the time to live and the owner of a lease.
/// Returns 2, the entry and its remaining time to live, or what [`TAKE_LEASE`] returns.
pub(crate) static LOOK_UP_OR_LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look_up_or_lease",
        r"
local value, ttl = find()
if value and entry_fence() ~= tonumber(ARGV[1]) then return {2, value, ttl} end
local granted, fence = take_lease(ARGV[2], ARGV[3])
return {granted, fence, 0}
",
    )
});

/// Arguments: the lease, time to live.
pub(crate) static EXTEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "extend",
        r"
if redis.pcall('GET', LEASE) ~= ARGV[1] or redis.call('PTTL', LEASE) < 0 then return 0 end
return redis.call('PEXPIRE', LEASE, ARGV[2])
",
    )
});

/// Arguments: channel, message, the lease.
pub(crate) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "release",
        r"
if redis.pcall('GET', LEASE) ~= ARGV[3] then return 0 end
redis.call('DEL', LEASE)
publish(ARGV[1], ARGV[2])
return 1
",
    )
});
