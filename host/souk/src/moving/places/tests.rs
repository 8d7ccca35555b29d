//! Tests what the record makes of stores that cannot be listed.

use super::*;

const KEY: &str = "key-value/auth";

/// The record of a start, at which the store was at `place`.
fn record(place: &str, rows: bool) -> Places {
    let before = Place { rows, ..Place::server(place.to_owned()) };
    Places { places: [(KEY.to_owned(), before)].into(), ..Places::default() }
}

/// A start with the store at `place`; `listed` says whether it has keys.
fn start(places: &mut Places, place: &str, listed: Option<bool>) -> Result<bool, String> {
    let mut now = Place::server(place.to_owned());
    places.note_listed(KEY, &mut now, listed);
    let by_itself = Place::file(Path::new("/nowhere/auth.db"));
    places.compare(KEY, now, by_itself, "the key-value store `auth`", "auth").map_err(|wrong| wrong.to_string())?;
    Ok(places.places[KEY].rows)
}

#[test]
fn a_store_that_cannot_be_listed_has_what_it_had_before() {
    for rows in [true, false] {
        assert_eq!(start(&mut record("redis://a", rows), "redis://a", None), Ok(rows));
    }
    assert_eq!(start(&mut Places::default(), "redis://a", None), Ok(false));
}

#[test]
fn a_new_place_that_cannot_be_listed_does_not_take_over_from_one_with_data() {
    let mut places = record("redis://a", true);
    let error = start(&mut places, "redis://b", None).unwrap_err();
    assert!(error.contains("redis://b, which does not answer, and was in redis://a, which has data"), "{error}");
    assert!(error.contains("fix: start again when it answers") && error.contains("souk store copy auth"), "{error}");
    assert_eq!(places.places[KEY].place, "redis://a");
    let error = start(&mut places, "redis://b", Some(false)).unwrap_err();
    assert!(error.contains("redis://b, which is empty"), "{error}");
    assert_eq!(start(&mut places, "redis://b", Some(true)), Ok(true));
    // Nothing is lost with an empty one.
    assert_eq!(start(&mut record("redis://a", false), "redis://b", None), Ok(false));
}

#[test]
fn a_return_to_a_place_that_a_copy_has_left_is_warned_of() {
    let now = |place: &str| Place { rows: true, ..Place::server(place.to_owned()) };
    let warning =
        |places: &Places, place: &str| places.left_behind(KEY, &now(place), "/nowhere/auth.db", "the accounts", "auth");
    let mut places = record("redis://a", true);
    assert_eq!(warning(&places, "redis://a"), None);
    // Also when another copy goes to the same place.
    for copied in ["auth", "carts"] {
        places.finished.entry(copied.to_owned()).or_default().insert("redis://b".to_owned());
    }
    assert_eq!(warning(&places, "redis://b"), None);
    assert_eq!(start(&mut places, "redis://b", Some(true)), Ok(true));
    let said = warning(&places, "redis://a").unwrap();
    assert!(said.contains("the accounts is now in redis://a, and was in redis://b"), "{said}");
    // The copy is used up: the place before has had a host since.
    assert_eq!(start(&mut places, "redis://a", Some(true)), Ok(true));
    assert!(warning(&places, "redis://b").is_some());
    assert_eq!(warning(&record("redis://a", false), "redis://b"), None);
}
