//! Schedule expressions: `cron(…)`, `rate(…)` and `at(…)`, in a time zone.
//!
//! The forms are those of <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    times: Times,
    time_zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Times {
    Cron(Box<Cron>),
    Rate(SignedDuration),
    At(DateTime),
}

/// Why a text is not the expression of a schedule that runs here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It has none of the three forms.
    #[error("`{0}` is none of `cron(…)`, `rate(…)` and `at(…)`")]
    Form(String),
    /// There is no such time zone.
    #[error("there is no time zone `{0}`")]
    TimeZone(String),
    /// The number or the unit of a rate.
    #[error("`{0}`: expected a number from 1 on and `minutes`, `hours` or `days`")]
    Rate(String),
    /// The time of `at`.
    #[error("`{0}`: expected a time such as `at(2026-01-31T12:00:00)`")]
    At(String),
    /// A cron has more or fewer fields than AWS's.
    #[error("`{0}`: expected minutes, hours, day of month, month, day of week and year")]
    Fields(String),
    /// A cron says both days, or neither.
    #[error("`{0}`: expected `?` as the day of month or as the day of week, and not as both")]
    Days(String),
    /// A field of a cron has what it can not have.
    #[error("`{expression}`: the {field} can not be `{found}`")]
    Field {
        /// The expression.
        expression: String,
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// The fields of a cron do not make sense.
    #[error("`{expression}`: {problem}")]
    Cron {
        /// The expression.
        expression: String,
        /// What the parser says.
        problem: String,
    },
}

/// The fields of a cron: what each is called, which characters it may have beside digits, and which
/// names.
const FIELDS: [(&str, &str, &[&str]); 6] = [
    ("minutes", ",-*/", &[]),
    ("hours", ",-*/", &[]),
    ("day of month", ",-*?/LW", &[]),
    ("month", ",-*/", &MONTHS),
    ("day of week", ",-*?/L#", &WEEKDAYS),
    ("year", ",-*/", &[]),
];

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Expression {
    /// Reads an expression, whose times are those of clocks in `time_zone` (`Europe/Berlin`).
    ///
    /// # Errors
    ///
    /// What AWS would refuse, and what can not be followed here.
    pub fn parse(text: &str, time_zone: &str) -> Result<Self, ExpressionError> {
        let time_zone = TimeZone::get(time_zone)
            .map_err(|_| ExpressionError::TimeZone(time_zone.to_owned()))?;
        let form = || ExpressionError::Form(text.to_owned());
        let (kind, inner) =
            text.strip_suffix(')').and_then(|text| text.split_once('(')).ok_or_else(form)?;
        let times = match kind {
            "cron" => Times::Cron(Box::new(cron(text, inner)?)),
            "rate" => {
                Times::Rate(rate(inner).ok_or_else(|| ExpressionError::Rate(text.to_owned()))?)
            }
            "at" => Times::At(inner.parse().map_err(|_| ExpressionError::At(text.to_owned()))?),
            _ => return Err(form()),
        };
        Ok(Self { text: text.to_owned(), times, time_zone })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When it fires first if it is made at `begun`: a rate at once, the others after that.
    pub fn first(&self, begun: Timestamp) -> Option<Timestamp> {
        match self.times {
            Times::Rate(_) => Some(begun),
            Times::Cron(_) | Times::At(_) => self.after(begun),
        }
    }

    /// When it fires next after it has fired at `previous`.
    ///
    /// A time that clocks leave out in spring is left out, one that they show twice in autumn
    /// counts when they show it first.
    pub fn after(&self, previous: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Rate(every) => previous.checked_add(*every).ok(),
            Times::At(time) => self.instant(*time).filter(|instant| *instant > previous),
            Times::Cron(cron) => {
                let mut clock = self.time_zone.to_datetime(previous);
                loop {
                    // Evaluated as if clocks were never changed.
                    let from = clock.to_zoned(TimeZone::UTC).ok()?;
                    clock = cron.find_next_occurrence(&from, false).ok()?.datetime();
                    match self.instant(clock) {
                        Some(instant) if instant > previous => return Some(instant),
                        Some(_) | None => {}
                    }
                }
            }
        }
    }

    /// When clocks show a time, for the first time if they show it twice.
    fn instant(&self, time: DateTime) -> Option<Timestamp> {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(time);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => None,
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()
            }
        }
    }
}

fn rate(inner: &str) -> Option<SignedDuration> {
    let (number, unit) = inner.split_once(' ')?;
    let number: i64 = number.parse().ok().filter(|number| *number > 0)?;
    let hours = match unit {
        "minute" | "minutes" => return number.checked_mul(60).map(SignedDuration::from_secs),
        "hour" | "hours" => 1,
        "day" | "days" => 24,
        _ => return None,
    };
    number.checked_mul(hours * 60 * 60).map(SignedDuration::from_secs)
}

/// Reads the six fields. What the parser takes beyond AWS is refused before it sees it.
fn cron(text: &str, inner: &str) -> Result<Cron, ExpressionError> {
    let mut fields: Vec<String> = inner.split(' ').map(str::to_uppercase).collect();
    if fields.len() != FIELDS.len() {
        return Err(ExpressionError::Fields(text.to_owned()));
    }
    for (field, (name, characters, names)) in fields.iter().zip(FIELDS) {
        let rest = names.iter().fold(field.clone(), |field, name| field.replace(name, "0"));
        let has_only = |c: char| c.is_ascii_digit() || characters.contains(c);
        let is_one_of_a_list = field.contains(',') && field.contains(['#', 'L', 'W']);
        let is_out_of_range = name == "year" && !are_years(field);
        if !rest.chars().all(has_only) || is_one_of_a_list || is_out_of_range {
            let (expression, found) = (text.to_owned(), field.clone());
            return Err(ExpressionError::Field { expression, field: name, found });
        }
    }
    if (fields[2] == "?") == (fields[4] == "?") {
        return Err(ExpressionError::Days(text.to_owned()));
    }
    // The parser knows only `6L`, and not AWS's last day of the week, which is Saturday.
    if fields[4] == "L" {
        "7".clone_into(&mut fields[4]);
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        // 1 is Sunday, and a step may begin at a number: `0/15`.
        .alternative_weekdays(true)
        .sloppy_ranges(true)
        .build();
    parser.parse(&format!("0 {}", fields.join(" "))).map_err(|error| ExpressionError::Cron {
        expression: text.to_owned(),
        problem: error.to_string(),
    })
}

/// Whether all years of a field are among AWS's.
fn are_years(field: &str) -> bool {
    let items = field.split(',').map(|item| item.split_once('/').map_or(item, |(years, _)| years));
    items.flat_map(|years| years.split('-')).all(|year| {
        year == "*" || year.parse().is_ok_and(|year: u32| (1970..=2199).contains(&year))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first times after a time, in UTC.
    #[track_caller]
    fn check(expression: &str, time_zone: &str, begun: &str, expected: &[&str]) {
        let parsed =
            Expression::parse(expression, time_zone).unwrap_or_else(|error| panic!("{error}"));
        let first = parsed.first(begun.parse().unwrap());
        let times = std::iter::successors(first, |previous| parsed.after(*previous));
        let times: Vec<String> = times.take(3).map(|time| time.to_string()).collect();
        assert_eq!(times, expected, "{expression}");
    }

    const BEGUN: &str = "2026-11-23T12:00:00Z";

    /// 2026-11-23 is a Monday.
    #[test]
    fn a_cron_fires_when_its_six_fields_say() {
        let times = ["2026-11-24T02:30:00Z", "2026-11-25T02:30:00Z", "2026-11-26T02:30:00Z"];
        check("cron(30 2 * * ? *)", "UTC", BEGUN, &times);
        let times = ["2026-11-23T12:15:00Z", "2026-11-23T12:30:00Z", "2026-11-23T12:45:00Z"];
        check("cron(0/15 * * * ? *)", "UTC", BEGUN, &times);
        check("cron(*/15 * * * ? *)", "UTC", BEGUN, &times);
        let times = ["2026-11-23T18:00:00Z", "2026-11-24T18:00:00Z", "2026-11-25T18:00:00Z"];
        check("cron(0 18 ? * MON-FRI *)", "UTC", BEGUN, &times);
        check("cron(0 18 ? * 2-6 *)", "UTC", BEGUN, &times);
        let times = ["2026-12-01T08:00:00Z", "2027-01-01T08:00:00Z", "2027-02-01T08:00:00Z"];
        check("cron(0 8 1 * ? *)", "UTC", BEGUN, &times);
        let times = ["2027-01-03T10:15:00Z", "2027-03-07T10:15:00Z"];
        check("cron(15 10 ? JAN,MAR 1#1 2027)", "UTC", BEGUN, &times);
        let times = ["2028-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2032-01-01T00:00:00Z"];
        check("cron(0 0 1 1 ? 2026-2032/2)", "UTC", BEGUN, &times);
    }

    #[test]
    fn last_days_and_nearest_weekdays_are_those_of_the_month() {
        let times = ["2026-11-30T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"];
        check("cron(0 0 L * ? *)", "UTC", BEGUN, &times);
        let times = ["2026-11-27T10:15:00Z", "2026-12-25T10:15:00Z", "2027-01-29T10:15:00Z"];
        check("cron(15 10 ? * 6L *)", "UTC", BEGUN, &times);
        let times = ["2026-12-08T00:00:00Z", "2027-01-12T00:00:00Z", "2027-02-09T00:00:00Z"];
        check("cron(0 0 ? * 3#2 *)", "UTC", BEGUN, &times);
        // The 15th of these months is a Tuesday, a Friday and a Monday; the 16th of January is a Saturday.
        let times = ["2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z", "2027-02-15T00:00:00Z"];
        check("cron(0 0 15W * ? *)", "UTC", BEGUN, &times);
        check(
            "cron(0 0 16W 1 ? *)",
            "UTC",
            BEGUN,
            &["2027-01-15T00:00:00Z", "2028-01-17T00:00:00Z", "2029-01-16T00:00:00Z"],
        );
        let times = ["2026-11-30T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-29T00:00:00Z"];
        check("cron(0 0 LW * ? *)", "UTC", BEGUN, &times);
        // The last day of AWS's week is Saturday.
        let times = ["2026-11-28T00:00:00Z", "2026-12-05T00:00:00Z", "2026-12-12T00:00:00Z"];
        check("cron(0 0 ? * L *)", "UTC", BEGUN, &times);
    }

    #[test]
    fn a_time_is_that_of_clocks_in_the_time_zone() {
        let times = ["2026-11-24T01:30:00Z", "2026-11-25T01:30:00Z", "2026-11-26T01:30:00Z"];
        check("cron(30 2 * * ? *)", "Europe/Berlin", BEGUN, &times);
        // Clocks go from 02:00 to 03:00 on the 28th.
        let times = ["2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z", "2027-03-30T00:30:00Z"];
        check("cron(30 2 * * ? *)", "Europe/Berlin", "2027-03-26T12:00:00Z", &times);
        // Clocks show 02:00 to 03:00 twice on the 31st.
        let times = ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z", "2027-11-02T01:30:00Z"];
        check("cron(30 2 * * ? *)", "Europe/Berlin", "2027-10-30T12:00:00Z", &times);
        // Between the two.
        check(
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "2027-10-31T00:45:00Z",
            &times[1..].iter().copied().chain(["2027-11-03T01:30:00Z"]).collect::<Vec<_>>(),
        );
        check("at(2026-12-24T18:00:00)", "Europe/Berlin", BEGUN, &["2026-12-24T17:00:00Z"]);
        check("at(2027-03-28T02:30:00)", "Europe/Berlin", BEGUN, &[]);
    }

    #[test]
    fn a_rate_fires_at_once_and_then_after_each_of_its_times() {
        let times = ["2026-11-23T12:00:00Z", "2026-11-30T12:00:00Z", "2026-12-07T12:00:00Z"];
        check("rate(7 days)", "UTC", BEGUN, &times);
        let times = ["2026-11-23T12:00:00Z", "2026-11-23T12:01:00Z", "2026-11-23T12:02:00Z"];
        check("rate(1 minute)", "Europe/Berlin", BEGUN, &times);
    }

    #[test]
    fn what_is_over_never_fires_again() {
        check("at(2026-11-23T11:59:59)", "UTC", BEGUN, &[]);
        check("cron(0 0 1 1 ? 2026)", "UTC", BEGUN, &[]);
    }

    #[track_caller]
    fn check_refused(expression: &str, time_zone: &str, expected: &str) {
        let refused = Expression::parse(expression, time_zone).map(|_| ()).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn what_aws_refuses_is_refused_with_the_reason() {
        let form = "is none of `cron(…)`, `rate(…)` and `at(…)`";
        check_refused("@daily", "UTC", &format!("`@daily` {form}"));
        check_refused("every(1 day)", "UTC", &format!("`every(1 day)` {form}"));
        check_refused("rate(1 day)", "Mars/Base", "there is no time zone `Mars/Base`");
        let rate = "expected a number from 1 on and `minutes`, `hours` or `days`";
        for text in ["rate(0 days)", "rate(1 week)", "rate(5)", "rate(-1 days)"] {
            check_refused(text, "UTC", &format!("`{text}`: {rate}"));
        }
        let at = "`at(tomorrow)`: expected a time such as `at(2026-01-31T12:00:00)`";
        check_refused("at(tomorrow)", "UTC", at);
        let fields = "expected minutes, hours, day of month, month, day of week and year";
        for text in ["cron(0 0 * * ?)", "cron(0 0 0 * * ? *)", "cron()"] {
            check_refused(text, "UTC", &format!("`{text}`: {fields}"));
        }
        let days = "expected `?` as the day of month or as the day of week, and not as both";
        for text in ["cron(0 0 * * * *)", "cron(0 0 ? * ? *)", "cron(0 0 1 * MON *)"] {
            check_refused(text, "UTC", &format!("`{text}`: {days}"));
        }
        for (field, name, found) in [
            ("cron(? 0 * * ? *)", "minutes", "?"),
            ("cron(0 L * * ? *)", "hours", "L"),
            ("cron(0 0 1W,2W * ? *)", "day of month", "1W,2W"),
            ("cron(0 0 1 MON ? *)", "month", "MON"),
            ("cron(0 0 ? * 3#1,6#3 *)", "day of week", "3#1,6#3"),
            ("cron(0 0 ? * +MON *)", "day of week", "+MON"),
            ("cron(0 0 1 1 ? 2200)", "year", "2200"),
        ] {
            check_refused(field, "UTC", &format!("`{field}`: the {name} can not be `{found}`"));
        }
        for text in
            ["cron(60 0 * * ? *)", "cron(0 24 * * ? *)", "cron(0 0 32 * ? *)", "cron(0 0 ? * 8 *)"]
        {
            assert!(Expression::parse(text, "UTC").is_err(), "{text}");
        }
    }
}
