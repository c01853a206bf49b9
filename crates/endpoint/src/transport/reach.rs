//! The network from which an address can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hallpass_core::is_loopback_host;
use url::{Host, Url};

/// Returns true if a request to this URL stays on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

/// The network from which an address can be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Reachable from everywhere, or a name, which can resolve to anything.
    Global,
    /// A private network, a link-local address, or unreachable.
    Local,
    Loopback,
}

impl Reach {
    pub(crate) fn classify(host: &Host<&str>) -> Self {
        if is_loopback_host(&host.to_string()) {
            return Self::Loopback;
        }
        let ip: IpAddr = match host {
            Host::Domain(_) => return Self::Global,
            Host::Ipv4(ip) => (*ip).into(),
            Host::Ipv6(ip) => ip.to_canonical(),
        };
        let global = match ip {
            IpAddr::V4(ip) => is_global_v4(ip),
            IpAddr::V6(ip) => is_global_v6(ip),
        };
        if global { Self::Global } else { Self::Local }
    }
}

/// The blocks that the IANA registry for special-purpose IPv4 addresses does not call globally reachable, multicast
/// (RFC 5771), and the relays of 6to4 (RFC 7526).
const NOT_GLOBAL_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let within = |(network, bits): ([u8; 4], u32)| {
        (u32::from(ip) ^ u32::from_be_bytes(network)) >> (32 - bits) == 0
    };
    !NOT_GLOBAL_V4.into_iter().any(within)
}

/// Returns true if the address is global unicast, `2000::/3` (RFC 4291 section 2.4), outside the ranges reserved in it.
/// An address that embeds an IPv4 address is as global as that one.
fn is_global_v6(ip: Ipv6Addr) -> bool {
    let embedded =
        |high: u16, low: u16| is_global_v4(((u32::from(high) << 16) | u32::from(low)).into());
    match ip.segments() {
        // IPv4-compatible (RFC 4291 section 2.5.5.1), which includes `::`, and NAT64 (RFC 6052 section 2.1).
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        // 6to4 (RFC 3056 section 2).
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments, Teredo among them (RFC 2928, RFC 4380), and documentation (RFC 3849, RFC 9637).
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}
