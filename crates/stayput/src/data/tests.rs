use std::collections::BTreeMap;

use stayput_testkit::Seed;

use super::*;

#[test]
fn data_is_read_as_it_was_written() {
    let mut data = Data::owned(&Subject::new("alice"), &Device::default());
    data.set(b"n", &encode("n", &7u32).unwrap());
    let read = Data::decode(data.as_bytes().to_vec()).unwrap();
    assert_eq!(read.as_bytes(), data.as_bytes());
    assert_eq!(read.subject(), Some(Subject::new("alice")));
    assert_eq!(decode::<u32>("n", read.get("n").unwrap()).unwrap(), 7);
    assert_eq!(Data::new().subject(), None);
}

#[test]
fn random_changes_leave_what_a_plain_map_holds() {
    let mut rng = Seed::announce().rng();
    let (mut data, mut map) = (Data::new(), BTreeMap::new());
    for _ in 0..5_000 {
        let key = "k".repeat(rng.usize(..40));
        if rng.u8(..3) == 0 {
            data.remove(key.as_bytes());
            map.remove(&key);
        } else {
            let value = vec![rng.u8(..); [0, 1, 40, 255, 256, 65_535, 65_536][rng.usize(..7)]];
            data.set(key.as_bytes(), &value);
            map.insert(key.clone(), value);
        }
        assert_eq!(data.size(), size(&map));
        assert_eq!(data.get(&key), map.get(&key).map(Vec::as_slice));
    }
    let data = Data::decode(data.as_bytes().to_vec()).unwrap();
    let read: BTreeMap<_, _> =
        data.iter().map(|(key, value)| (String::from_utf8(key.to_vec()).unwrap(), value.to_vec())).collect();
    assert_eq!(read, map);
}

fn size(map: &BTreeMap<String, Vec<u8>>) -> (usize, usize) {
    (map.len(), map.iter().map(|(key, value)| key.len() + value.len()).sum())
}

#[test]
fn no_cut_or_flipped_bit_panics() {
    let mut data = Data::owned(&Subject::new("alice"), &Device::default());
    data.set(b"key", &[7; 300]);
    let wire = data.as_bytes();
    for len in (0..wire.len())
        .filter(|len| *len != Data::owned(&Subject::new("alice"), &Device::default()).as_bytes().len())
    {
        assert_eq!(Data::decode(wire[..len].to_vec()).err(), Some(Malformed));
    }
    for bit in 0..wire.len() * 8 {
        let mut flipped = wire.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(data) = Data::decode(flipped) {
            let _ = (data.subject(), data.get("key"), data.size());
        }
    }
}

#[test]
fn a_value_of_another_type_is_an_error_that_names_its_key_and_not_the_value() {
    let error = decode::<u32>("n", &encode("n", &"personal").unwrap()).unwrap_err();
    assert!(error.to_string().contains("`n`"), "{error}");
    assert!(!format!("{error:?}").contains("personal"), "{error:?}");
    let error = decode::<u8>("n", &encode("n", &40_961).unwrap()).unwrap_err();
    assert!(!format!("{error:?}").contains("40961"), "{error:?}");
}
