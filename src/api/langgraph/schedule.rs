//! Cron schedules: five fields, in a time zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::base::Millis;

/// How far ahead a next time is looked for [days]: past the rarest date, a 29th of February.
const DAYS_MAX: u32 = 366 * 9;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something happens again and again: `minute hour day month weekday`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Where both days are restricted, either is enough, as cron has it.
    either_day: bool,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule. `zone`: a name of the time zone database; `None`: UTC.
    ///
    /// Errors: what cannot be read, in words.
    pub(super) fn parse(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("`{text}` is not `minute hour day month weekday`"));
        };
        let weekday_bits = field(weekdays, 0, 7, &DAYS)?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| format!("no time zone `{name}`"))?,
        };
        Ok(Self {
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, &MONTHS)?,
            // Sunday is 0 and 7.
            weekdays: (weekday_bits | weekday_bits >> 7) & 0x7f,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
            zone,
        })
    }

    /// The next moment after `after`; `None`: there is none, ever.
    pub(super) fn next(&self, after: Millis) -> Option<Millis> {
        let after = Timestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let local = self.zone.to_datetime(after);
        let mut date = local.date();
        for _ in 0..DAYS_MAX {
            if self.is_on(date) {
                for at in self.times(date) {
                    // An hour that the clock skips is the one after it.
                    let moment = self.zone.to_timestamp(at).ok()?;
                    if moment > after {
                        return u64::try_from(moment.as_millisecond()).ok().map(Millis);
                    }
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn is_on(&self, date: Date) -> bool {
        let has = |bits: u64, n: i8| bits >> n & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let on = if self.either_day { day || weekday } else { day && weekday };
        on && has(self.months, date.month())
    }

    fn times(&self, date: Date) -> impl Iterator<Item = DateTime> {
        let has = |bits: u64, n: i8| bits >> n & 1 == 1;
        let (hours, minutes) = (self.hours, self.minutes);
        (0..24_i8).filter(move |&hour| has(hours, hour)).flat_map(move |hour| {
            let minutes = (0..60_i8).filter(move |&minute| has(minutes, minute));
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        })
    }
}

/// The numbers of a field, as bits: `*`, `5`, `mon-fri`, `*/10`, `8-18/2`, and lists of these.
fn field(text: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, String> {
    let number = |word: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(word));
        // Months are counted from 1, weekdays from 0: both from `low`.
        let named = named.and_then(|place| Some(u32::try_from(place).ok()? + low));
        let number = named.or_else(|| word.parse().ok());
        number
            .filter(|n| (low..=high).contains(n))
            .ok_or_else(|| format!("`{word}` is not {low} to {high}"))
    };
    let mut bits = 0_u64;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: usize =
            step.parse().ok().filter(|s| *s > 0).ok_or_else(|| format!("no step in `{part}`"))?;
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((first, last)) => (number(first)?, number(last)?),
            None if part.contains('/') => (number(range)?, high),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return Err(format!("`{part}` runs backwards"));
        }
        bits |= (first..=last).step_by(step).fold(0, |bits, n| bits | 1 << n);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        let after = Millis(u64::try_from(after.as_millisecond()).unwrap());
        let next = Schedule::parse(schedule, zone).unwrap().next(after).unwrap();
        Timestamp::from_millisecond(i64::try_from(next.0).unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_next_time_is_found() {
        for (schedule, zone, after, wanted) in [
            ("27 15 * * *", None, "2026-11-24T02:09:20Z", "2026-11-24T15:27:00Z"),
            ("0 1 * * *", None, "2026-11-24T02:09:20Z", "2026-11-25T01:00:00Z"),
            ("*/15 * * * *", None, "2026-11-24T02:15:00Z", "2026-11-24T02:30:00Z"),
            ("0 9 * * mon-fri", None, "2026-11-27T09:00:00Z", "2026-11-30T09:00:00Z"),
            ("0 0 29 feb *", None, "2026-11-27T09:00:00Z", "2028-02-29T00:00:00Z"),
            // Either day is enough: the 1st, or a Monday.
            ("0 0 1 * 1", None, "2026-11-25T00:00:00Z", "2026-11-30T00:00:00Z"),
            ("0 12 * * 7", None, "2026-11-24T00:00:00Z", "2026-11-29T12:00:00Z"),
            ("30 8 * * *", Some("Europe/Berlin"), "2026-07-01T00:00:00Z", "2026-07-01T06:30:00Z"),
            ("30 8 * * *", Some("Europe/Berlin"), "2026-12-01T00:00:00Z", "2026-12-01T07:30:00Z"),
            // 02:30 is skipped on the day the clocks go forward.
            ("30 2 * * *", Some("Europe/Berlin"), "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
        ] {
            assert_eq!(next(schedule, zone, after), wanted, "{schedule} {zone:?}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "a * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
        ] {
            assert!(Schedule::parse(text, None).is_err(), "{text}");
        }
        assert!(Schedule::parse("* * * * *", Some("Mars/Olympus")).is_err());
    }

    #[test]
    fn a_day_that_never_comes_has_no_next_time() {
        assert_eq!(Schedule::parse("0 0 30 2 *", None).unwrap().next(Millis(0)), None);
    }
}
