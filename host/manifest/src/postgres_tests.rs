//! PostgreSQL addresses: what is accepted, what is refused, and that no secret is shown.

use super::*;
use proptest::prelude::*;

fn address(text: &str) -> PostgresAddress {
    PostgresAddress::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refused(text: &str) -> String {
    match PostgresAddress::parse(text) {
        Ok(address) => panic!("{text} is taken as {address}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_part_of_a_url_is_in_the_address() {
    let url = "postgresql://me:p%40ss%2F%20w@DB.test:6543/shop?sslmode=verify-full&application_name=a%20b\
               &connect_timeout=7&options=-c%20search_path%3Da%2Cb%20--statement-timeout%3D5s";
    let address = address(url);
    assert_eq!((address.host(), address.port()), ("db.test", 6543));
    assert_eq!((address.user.as_str(), address.password.as_str()), ("me", "p@ss/ w"));
    assert_eq!((address.database.as_str(), address.ssl_mode), ("shop", SslMode::VerifyFull));
    assert_eq!(address.connect_timeout(), Some(Duration::from_secs(7)));
    assert_eq!(address.application_name.as_deref(), Some("a b"));
    let settings = [("search_path", "a,b"), ("statement_timeout", "5s")];
    assert_eq!(address.settings, settings.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn missing_parts_have_defaults_that_do_not_come_from_the_host() {
    let address = address("postgres://me@db.test");
    assert_eq!((address.port(), address.database.as_str(), address.password.as_str()), (5432, "me", ""));
    assert_eq!((address.ssl_mode, address.connect_timeout()), (SslMode::Prefer, None));
}

#[test]
fn the_schema_of_prisma_is_where_the_session_looks() {
    for (text, settings) in [
        ("postgres://u@db/d?schema=public", &[][..]),
        ("postgres://u@db/d?schema=Shop%20one", &[("search_path", "\"Shop one\"")]),
        ("postgres://u@db/d?schema=shop&options=-cwork_mem%3D1", &[("work_mem", "1"), ("search_path", "\"shop\"")]),
    ] {
        let expected: Vec<_> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(address(text).settings, expected, "{text}");
    }
}

#[test]
fn host_and_port_are_read_wherever_a_url_may_have_them() {
    for (text, host, port) in [
        ("postgres://u:p@127.0.0.1:1/d", "127.0.0.1", 1),
        ("postgres://u@[::1]/d", "::1", 5432),
        ("postgres://u@[::1]:7/d", "::1", 7),
        ("postgres://u@[::ffff:10.0.0.1]:7/d", "10.0.0.1", 7),
        ("postgres://u:p@ss@db/d", "db", 5432),
        ("postgres://u@db:7/d?schema=public", "db", 7),
        ("postgres://u@db:/d", "db", 5432),
        ("postgres://u@db", "db", 5432),
        ("postgres://u@/d?host=db&port=9", "db", 9),
        ("postgres://u@one/d?host=two", "two", 5432),
        ("postgres:///d?hostaddr=10.0.0.1&user=u", "10.0.0.1", 5432),
        ("postgres://u@/d?hostaddr=::1", "::1", 5432),
        ("postgres://u@db/d?port=&channel_binding=prefer", "db", 5432),
    ] {
        let address = address(text);
        assert_eq!((address.host(), address.port()), (host, port), "{text}");
    }
}

#[test]
fn what_is_not_supported_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "not a URL"),
        ("postgres:/u@db/d", "not a URL"),
        ("postgres://", "no host"),
        ("postgres://db/d", "no user"),
        ("mysql://u@db/d", "scheme"),
        ("sqlite:orders", "not a URL"),
        ("postgres://u@a,b/d", "several hosts"),
        ("postgres://u@a:1,b:2/d", "host"),
        ("postgres://u@/d?host=a,b", "several hosts"),
        ("postgres://u@%2Fvar%2Frun/d", "unix socket"),
        ("postgres://u@/d?host=/tmp", "unix socket"),
        ("postgres://u@/d?host=@abstract", "unix socket"),
        ("postgres://u@::1/d", "neither a name"),
        ("postgres://u@a*b/d", "neither a name"),
        ("postgres://u@[::1]x/d", "`]`"),
        ("postgres://u@db:0/d", "port"),
        ("postgres://u@db:65536/d", "port"),
        ("postgres://u@db/d?port=1,2", "port"),
        ("postgres://u@db/d?hostaddr=10.0.0.1", "`hostaddr`"),
        ("postgres://u@db/d?sslmode=sometimes", "`sslmode`"),
        ("postgres://u@db/d?sslrootcert=/etc/passwd", "`sslrootcert`"),
        ("postgres://u@db/d?sslkey=/etc/passwd", "`sslkey`"),
        ("postgres://u@db/d?passfile=/root/.pgpass", "`passfile`"),
        ("postgres:///?service=shop", "`service`"),
        ("postgres://u@db/d?channel_binding=require", "`channel_binding`"),
        ("postgres://u@db/d?target_session_attrs=primary", "`target_session_attrs`"),
        ("postgres://u@db/d?keepalives=1", "`keepalives`"),
        ("postgres://u@db/d?schema=a%22,b", "`schema`"),
        ("postgres://u@db/d?schema=public&connection_limit=5", "`connection_limit`"),
        ("postgres://u@db/d?connect_timeout=soon", "`connect_timeout`"),
        ("postgres://u@db/d?options=-p%201", "`options`"),
        ("postgres://u@db/d?sslmode", "without a value"),
        ("postgres://u:%ff@db/d", "UTF-8"),
        ("postgres://u:a%00b@db/d", "zero"),
    ] {
        let error = refused(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
    assert!(refused(&format!("postgres://u@db/{}", "x".repeat(MAX_ADDRESS_BYTES))).contains("longer"));
}

#[test]
fn the_key_value_form_of_libpq_is_refused_with_the_form_to_write() {
    for text in [
        "host=db user=u password=s3cret dbname=d",
        "host = db.test port=6543 user=me password = 's3cret'",
        "user=u password=s3cret://x host=db",
        "service=shop",
    ] {
        let error = refused(text);
        assert!(error.contains("is not a URL; write `postgres://USER:PASSWORD@HOST/DATABASE`"), "{text}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn no_error_shows_a_part_of_a_password_that_was_not_escaped() {
    for text in [
        "postgres://u:s3cret&x=1@db/d?s3cret=1",
        "postgres://u:1/s3cret@db/d",
        "postgres://u:p?s3cret=w@db/d",
        "postgres://u:s3cret@db:s3cret/d",
        "postgres://u@db/d?password=p&s3cret=1",
        "postgres://u@db/d?password=p&s3cret",
        "postgres://u@/d?host=s3cret@db",
    ] {
        let error = refused(text);
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn an_address_is_shown_without_user_and_password() {
    let shown = address("postgres://s3user:s3cret@[::1]/shop?application_name=s3name&options=-c%20a%3Ds3value");
    assert_eq!(shown.to_string(), "postgres://[::1]:5432/shop");
    assert_eq!(format!("{shown:?}"), "PostgresAddress(postgres://[::1]:5432/shop)");
}

proptest! {
    #[test]
    fn any_password_and_name_survives_a_url(
        user in "[^\0]{1,12}", password in "[^\0]{0,12}", database in "[^\0]{1,12}", port in 1u16..,
    ) {
        let escape = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let url = format!("postgres://{}:{}@db.test:{port}/{}", escape(&user), escape(&password), escape(&database));
        let address = address(&url);
        prop_assert_eq!((&address.user, &address.password, &address.database), (&user, &password, &database));
    }

    #[test]
    fn any_text_is_an_address_or_an_error(text in "(postgres://)?[a-z0-9:/@?&=%'\\\\ ,\\[\\]é.-]{0,60}") {
        if let Ok(address) = PostgresAddress::parse(&text) {
            prop_assert!(!address.host().is_empty() && address.port() > 0);
            prop_assert!(!address.host().contains(['/', '@', ',', '*']));
        }
    }
}
