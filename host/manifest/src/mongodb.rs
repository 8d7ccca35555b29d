//! The URL of a MongoDB server, as far as the manifest reads it: who is asked, and for which database.
//!
//! The driver reads the rest, since it alone knows all options. A URL may hold a password, so it is shown without one.
//! `mongodb+srv://` is refused: it names no server but a record of DNS, which would have to be looked up, and believed,
//! before there is a host to check.

use std::fmt;

/// Where a MongoDB server is, how to log in, and which database is meant. Shown without user, password and options.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoUrl {
    whole: String,
    hosts: String,
    database: String,
}

impl MongoUrl {
    /// Reads a URL: `mongodb://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?OPTIONS`.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if url.starts_with("mongodb+srv://") {
            return Err("names a record of DNS and no servers: write them out, `mongodb://HOST:27017,HOST:27017/…`");
        }
        let rest = url.strip_prefix("mongodb://").ok_or("is not the URL of a MongoDB server")?;
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let (login_and_hosts, database) = rest.split_once('/').ok_or("names no database")?;
        let hosts = login_and_hosts.rsplit_once('@').map_or(login_and_hosts, |(_, hosts)| hosts);
        if hosts.is_empty() || hosts.split(',').any(str::is_empty) {
            return Err("names no host");
        }
        if !is_database(database) {
            return Err("names no database");
        }
        Ok(MongoUrl { whole: url.to_owned(), hosts: hosts.to_owned(), database: database.to_owned() })
    }

    /// All of it, for the client.
    pub fn expose(&self) -> &str {
        &self.whole
    }

    /// The database that it names.
    pub fn database(&self) -> &str {
        &self.database
    }
}

/// What MongoDB takes as a database's name, on every system that it runs on.
fn is_database(name: &str) -> bool {
    !name.is_empty() && name.len() < 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Whether MongoDB takes it as a collection's name, and a URL or a shell needs no quotes for it.
pub(crate) fn is_collection(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 120
        && !name.starts_with("system.")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl fmt::Display for MongoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mongodb://{}/{}", self.hosts, self.database)
    }
}

impl fmt::Debug for MongoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_user_password_and_options() {
        for (url, shown) in [
            ("mongodb://localhost/AuthDB", "mongodb://localhost/AuthDB"),
            ("mongodb://ann:s3cret@a:27017,b:27018/shop?authSource=s3cret", "mongodb://a:27017,b:27018/shop"),
            ("mongodb://ann:s3@cret@a/shop", "mongodb://a/shop"),
        ] {
            let read = MongoUrl::parse(url).unwrap();
            assert_eq!((read.to_string(), format!("{read:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(read.expose(), url);
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_with_a_database_is_refused_and_not_repeated() {
        for (wrong, why) in [
            ("", "is not the URL"),
            ("redis://:s3cret@h/0", "is not the URL"),
            ("mongodb+srv://ann:s3cret@cluster.example/AuthDB", "a record of DNS"),
            ("mongodb://ann:s3cret@h", "no database"),
            ("mongodb://ann:s3cret@h/", "no database"),
            ("mongodb://h/a/s3cret", "no database"),
            ("mongodb://ann:s3cret@/shop", "no host"),
            ("mongodb://a,,b/shop", "no host"),
        ] {
            let error = MongoUrl::parse(wrong).unwrap_err();
            assert!(error.contains(why) && !error.contains("s3cret"), "{wrong}: {error}");
        }
    }
}
