//! The `Date` field (RFC 9110, 6.6.1), for answers that have none: caches work out the age of an answer from it.
//!
//! It never formats the same second twice on one thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::buffer::Buffer;

/// `Date: Sun, 06 Nov 1994 08:49:37 GMT` and a line break.
type Line = [u8; 37];

thread_local! {
    static LAST: Cell<(u64, Line)> = const { Cell::new((u64::MAX, [0; 37])) };
}

/// Writes the field line of this moment.
pub(crate) fn put(out: &mut Buffer) {
    // A clock before 1970 is wrong anyway.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (second, mut line) = LAST.get();
    if second != now {
        line = line_at(now);
        LAST.set((now, line));
    }
    out.put(&line);
}

/// The field line of a second since 1970.
fn line_at(second: u64) -> Line {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, time) = (second / 86_400, second % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let (weekday, month) = (at(&WEEKDAYS, days % 7), at(&MONTHS, month));
    let text =
        format!("Date: {weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT\r\n");
    text.as_bytes().try_into().expect("years have four digits for as long as this runs")
}

fn at<'a>(names: &[&'a str], index: u64) -> &'a str {
    names[usize::try_from(index).expect("a remainder is small")]
}

/// Year, month (from 0) and day of a day since 1970, by counting years from March: leap days then come last.
fn date(days: u64) -> (u64, u64, u64) {
    // From 1 March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 2) } else { (year + 1, month - 10) };
    (era * 400 + year, month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(second: u64) -> String {
        String::from_utf8(line_at(second).to_vec()).unwrap()
    }

    #[test]
    fn seconds_are_written_as_the_rfc_does() {
        assert_eq!(text(784_111_777), "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert_eq!(text(0), "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        assert_eq!(text(951_782_400), "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n");
        assert_eq!(text(4_107_542_399), "Date: Sun, 28 Feb 2100 23:59:59 GMT\r\n");
        assert_eq!(text(4_107_542_400), "Date: Mon, 01 Mar 2100 00:00:00 GMT\r\n");
        assert_eq!(text(253_402_300_799), "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    }

    #[test]
    fn the_line_is_that_of_now() {
        let mut out = Buffer::default();
        put(&mut out);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!((now - 5..=now).any(|second| line_at(second) == out.filled()));
    }
}
