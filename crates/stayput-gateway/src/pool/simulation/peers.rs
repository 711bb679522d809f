//! How others share clients out by hash, written from what they document: the same servers and clients get the same homes.
//!
//! A server is known by its place in the configuration, which gives it name, address and number. The simulation changes no
//! server's place, so HAProxy's come out as if each had its `id` written down.

use std::net::Ipv4Addr;

use super::super::order::{ClientHash, Order};

/// Whose home is where, by the place of the server.
pub(super) type Home = Box<dyn Fn(Ipv4Addr) -> u32 + Sync>;

pub(super) struct Algorithm {
    pub(super) name: &'static str,
    pub(super) of: fn(&[u32]) -> Home,
}

pub(super) const ALL: [Algorithm; 5] = [
    Algorithm { name: "Stayput", of: stayput },
    Algorithm { name: "nginx `hash … consistent`", of: ketama },
    Algorithm { name: "HAProxy `consistent`, `weight 10`", of: |places| chash(places, 10) },
    Algorithm { name: "HAProxy `consistent`", of: |places| chash(places, 1) },
    Algorithm { name: "nginx `ip_hash`", of: ip_hash },
];

fn host(place: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0001 + place)
}

fn stayput(places: &[u32]) -> Home {
    let names: Vec<_> = places.iter().map(|&place| format!("{}:3000", host(place))).collect();
    let named = || names.iter().map(|name| (name.as_str(), 1));
    let places = places.to_vec();
    let hashed = |client: Ipv4Addr| ClientHash::of(&client.octets());
    // A table is worth its making for many clients only; what it says is the same.
    if cfg!(debug_assertions) {
        let order = Order::uncached(named());
        return Box::new(move |client| places[order.best(hashed(client), |_| true).expect("there are some")]);
    }
    let order = Order::new(named());
    Box::new(move |client| places[order.first(hashed(client))])
}

/// Of the first three bytes of the address, modulo the number of servers.
fn ip_hash(places: &[u32]) -> Home {
    let places = places.to_vec();
    Box::new(move |client| {
        let hash =
            client.octets()[..3].iter().fold(89, |hash, &byte| (hash * 113 + usize::from(byte)) % 6271);
        places[hash % places.len()]
    })
}

/// 160 points to each server, each the CRC-32 of host, NUL, port and the point before; the client's is that of its
/// address as text. The next point above is home.
fn ketama(places: &[u32]) -> Home {
    let mut points = Vec::with_capacity(places.len() * 160);
    for &place in places {
        let base = crc32(u32::MAX, format!("{}\03000", host(place)).as_bytes());
        let mut before = 0_u32;
        for _ in 0..160 {
            before = !crc32(base, &before.to_le_bytes());
            points.push((before, place));
        }
    }
    points.sort_unstable();
    points.dedup_by_key(|(hash, _)| *hash);
    Box::new(move |client| {
        let mut text = Text::default();
        std::fmt::Write::write_fmt(&mut text, format_args!("{client}")).expect("an address is short");
        let hash = !crc32(u32::MAX, &text.bytes[..text.length]);
        let next = points.partition_point(|(point, _)| *point < hash);
        points[next % points.len()].1
    })
}

/// 16 points to each unit of weight, by number; the client's is that of its address. The nearest point is home.
fn chash(places: &[u32], weight: u32) -> Home {
    const POINTS: u32 = 16;
    const MOST: u32 = 256 * POINTS;
    let of_server =
        |&place: &u32| (0..POINTS * weight).map(move |n| (avalanche((place + 1) * MOST + n), place));
    let mut points: Vec<_> = places.iter().flat_map(of_server).collect();
    points.sort_unstable();
    Box::new(move |client| {
        let hash = avalanche(client.to_bits());
        let next = points.partition_point(|(point, _)| *point < hash);
        let (above, below) = (points[next % points.len()], points[(next + points.len() - 1) % points.len()]);
        if hash.wrapping_sub(below.0) <= above.0.wrapping_sub(hash) { below.1 } else { above.1 }
    })
}

/// Bob Jenkins' full avalanche of 32 bits, and HAProxy's spreading of it.
fn avalanche(hash: u32) -> u32 {
    let a = hash.wrapping_add(0x7ed5_5d16).wrapping_add(hash << 12);
    let a = (a ^ 0xc761_c23c) ^ (a >> 19);
    let a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    let a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    let a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    let a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473)
}

/// The state of a CRC-32 after these bytes; it begins with all ones, and is inverted in the end.
fn crc32(state: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut n) = ([0; 256], 0);
        while n < 256 {
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let (mut value, mut bit) = (n as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    bytes.iter().fold(state, |state, &byte| {
        let [low, ..] = (state ^ u32::from(byte)).to_le_bytes();
        TABLE[usize::from(low)] ^ (state >> 8)
    })
}

/// An address as text, without an allocation.
#[derive(Default)]
struct Text {
    bytes: [u8; 15],
    length: usize,
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes[self.length..][..text.len()].copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

#[test]
fn the_checksum_is_the_one_that_everybody_has() {
    assert_eq!(!crc32(u32::MAX, b"123456789"), 0xcbf4_3926);
}
