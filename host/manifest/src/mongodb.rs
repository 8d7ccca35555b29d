//! The URL of a MongoDB server. The manifest reads only its hosts and its database.
//!
//! The driver reads the rest, because only it knows all options. A URL may contain a password, so it is shown without
//! one. `mongodb+srv://` names a DNS record: the driver looks it up, takes only servers of the record's own domain, and
//! uses TLS.

use std::fmt;

/// The scheme of a URL that names a DNS record.
const SRV: &str = "mongodb+srv://";
/// How a URL can begin.
const SCHEMES: [&str; 2] = ["mongodb://", SRV];

/// The hosts, login and database of a MongoDB server. Shown without user, password and options.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoUrl {
    whole: String,
    scheme: &'static str,
    hosts: String,
    database: String,
}

impl MongoUrl {
    /// Reads a URL: `mongodb://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?OPTIONS`, or
    /// `mongodb+srv://USER:PASSWORD@NAME/DATABASE?OPTIONS`.
    ///
    /// # Errors
    /// What is wrong with it. The text does not quote the URL, which may contain a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let parts = SCHEMES.into_iter().find_map(|scheme| Some((scheme, url.strip_prefix(scheme)?)));
        let (scheme, rest) = parts.ok_or("is not the URL of a MongoDB server")?;
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let (login_and_hosts, database) = rest.split_once('/').ok_or("names no database")?;
        let hosts = login_and_hosts.rsplit_once('@').map_or(login_and_hosts, |(_, hosts)| hosts);
        if hosts.is_empty() || hosts.split(',').any(str::is_empty) {
            return Err("names no host");
        }
        if scheme == SRV && hosts.contains([',', ':']) {
            return Err("names servers or a port: `mongodb+srv://` takes one name of a DNS record");
        }
        if !is_database(database) {
            return Err("names no database");
        }
        Ok(MongoUrl { whole: url.to_owned(), scheme, hosts: hosts.to_owned(), database: database.to_owned() })
    }

    /// The whole URL, for the client.
    pub fn expose(&self) -> &str {
        &self.whole
    }

    /// Whether it has a user or password.
    pub fn has_login(&self) -> bool {
        let rest = self.whole.strip_prefix(self.scheme).and_then(|rest| rest.split('/').next());
        rest.is_some_and(|login_and_hosts| login_and_hosts.contains('@'))
    }

    /// The database that it names.
    pub fn database(&self) -> &str {
        &self.database
    }
}

/// Whether MongoDB accepts it as a database's name on every operating system.
fn is_database(name: &str) -> bool {
    !name.is_empty() && name.len() < 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Whether MongoDB accepts it as a collection's name, and it needs no quotes in a URL or a shell.
pub(crate) fn is_collection(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 120
        && !name.starts_with("system.")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl fmt::Display for MongoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", self.scheme, self.hosts, self.database)
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
            ("mongodb+srv://ann:s3cret@c0.example.net/AuthDB?w=s3cret", "mongodb+srv://c0.example.net/AuthDB"),
        ] {
            let read = MongoUrl::parse(url).unwrap();
            assert_eq!((read.to_string(), format!("{read:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(read.expose(), url);
        }
    }

    #[test]
    fn a_wrong_url_is_refused_and_not_quoted() {
        for (wrong, why) in [
            ("", "is not the URL"),
            ("redis://:s3cret@h/0", "is not the URL"),
            ("mongodb+srv://ann:s3cret@cluster.example:27017/AuthDB", "one name"),
            ("mongodb+srv://ann:s3cret@a.example,b.example/AuthDB", "one name"),
            ("mongodb+srv://ann:s3cret@a.example", "no database"),
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
