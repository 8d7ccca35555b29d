//! Messages as a table that fits the terminal: ids are shortened as far as they stay unique, ages replace times, and
//! long texts are cut. `souk events show` and `--json` show everything.

use chrono::DateTime;
use souk_links::durable::operator::Event;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The width of a table that is not printed to a terminal.
const WIDTH: usize = 100;
/// The minimum width of a table.
const MIN_WIDTH: usize = 80;
/// The minimum number of characters of an id.
const MIN_ID: usize = 8;
/// The minimum number of characters of a call and of a reason that are cut.
const MIN_TEXT: usize = 8;
/// The space between two columns.
const GAP: &str = "  ";

/// The width of the terminal, in columns.
pub(super) fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(WIDTH, |size| usize::from(size.ws_col).max(MIN_WIDTH))
}

/// `events`, one per line. Ids are cut, but stay unique among `all`.
pub(super) fn table(events: &[Event], all: &[Event], width: usize, now: SystemTime) -> String {
    if events.is_empty() {
        return "no messages\n".to_owned();
    }
    let id = id_length(all.iter().chain(events).map(|event| event.id.as_str()));
    let head = ["ID", "STATE", "TRIES", "AGE", "DUE", "CALL", "REASON"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(events.iter().map(|e| {
        [
            e.id.chars().take(id).collect(),
            e.state.clone(),
            e.attempts.to_string(),
            since(&e.stored_at, now),
            e.due_at.as_deref().map_or_else(|| "-".to_owned(), |due| until(due, now)),
            format!("{}#{}", e.component, e.function),
            e.reason.clone().unwrap_or_default(),
        ]
    }));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let [.., call, reason] = &mut widths;
    let (wanted_call, wanted_reason) = (*call, *reason);
    (*call, *reason) = (0, 0);
    let taken: usize = widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1);
    let left = width.saturating_sub(taken).max(2 * MIN_TEXT);
    let [.., call, reason] = &mut widths;
    *call = wanted_call.min((left / 2).max(left.saturating_sub(wanted_reason)));
    *reason = wanted_reason.min(left - *call);
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{:width$}", cut(cell, width))).collect();
        let _ = writeln!(text, "{}", cells.join(GAP).trim_end());
    }
    text
}

/// How many characters of each id make it unique.
fn id_length<'e>(ids: impl Iterator<Item = &'e str>) -> usize {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let shared =
        |one: &str, other: &str| one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let pairs = ids.iter().zip(ids.iter().skip(1));
    pairs.map(|(one, other)| shared(one, other) + 1).max().unwrap_or(0).max(MIN_ID)
}

/// How long ago `time` (RFC 3339) was, in its largest unit.
fn since(time: &str, now: SystemTime) -> String {
    let Some(time) = parse(time) else { return "?".to_owned() };
    in_largest_unit(now.duration_since(time).unwrap_or_default())
}

/// The time until `time` (RFC 3339), in its largest unit.
fn until(time: &str, now: SystemTime) -> String {
    let Some(time) = parse(time) else { return "?".to_owned() };
    match time.duration_since(now).unwrap_or_default() {
        soon if soon.as_secs() == 0 => "now".to_owned(),
        later => in_largest_unit(later),
    }
}

fn parse(time: &str) -> Option<SystemTime> {
    let millis = DateTime::parse_from_rfc3339(time).ok()?.timestamp_millis();
    Some(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).ok()?))
}

fn in_largest_unit(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// `text`, cut to `width` characters.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, state: &str, reason: Option<&str>) -> Event {
        Event {
            id: id.to_owned(),
            state: state.to_owned(),
            attempts: 12,
            caller: "webhook".to_owned(),
            component: "orders".to_owned(),
            interface: "store:orders/payment-events@1.0.0".to_owned(),
            function: "payment-received".to_owned(),
            trace: "t".to_owned(),
            bytes: 1,
            reason: reason.map(str::to_owned),
            stored_at: "2026-07-31T12:00:00.000Z".to_owned(),
            due_at: (state != "dead").then(|| "2026-07-31T12:05:07.900Z".to_owned()),
            arguments: None,
        }
    }

    #[test]
    fn a_table_fits_the_terminal_and_its_ids_tell_messages_apart() {
        let now = parse("2026-07-31T12:05:00.000Z").unwrap();
        let long = "the payment is of another order; ".repeat(9);
        let events = [
            event("0198a2b4-c3d4-7aaa-8123-0123456789ab", "delivering", None),
            event("0198a2b4-c3d5-7bbb-8123-0123456789ab", "dead", Some(&long)),
        ];
        for width in [80, 100, 132] {
            let text = table(&events, &events, width, now);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            assert!(text.contains("0198a2b4-c3d4  delivering  12     5m   7s   orders#payment-"), "{text}");
            assert!(text.contains("0198a2b4-c3d5  dead        12     5m   -    orders#pay"), "{text}");
            assert!(text.contains("the payment") && text.contains('…'), "{text}");
        }
        let one = table(events.get(..1).unwrap(), &[], 80, now);
        assert!(one.contains("\n0198a2b4  delivering  12     5m   7s   orders#payment-received\n"), "{one}");
        assert_eq!(table(&[], &events, 80, now), "no messages\n");
        let later = now + Duration::from_secs(86_400 * 3);
        assert!(table(&events, &events, 80, later).contains("  3d   now  "));
    }
}
