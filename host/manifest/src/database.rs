//! `database_url` under `[component.NAME.tool.souk]`: the database that the component's migrations are for.
//!
//! `sqlite:LABEL` names one of its `sqlite_databases`. A PostgreSQL URL is also a grant for its host and port, at any
//! address that the host name resolves to. So one variable sets the database for the component, its migrations and its
//! grant. The value may contain a password, so no message shows it.

use super::declared::Value;
use super::outbound::AllowedHost;
use super::postgres::PostgresAddress;
use super::table::{At, File};
use super::template::Template;
use super::{Component, names};
use std::collections::BTreeMap;

/// Where a component's database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:LABEL`; the component is granted the label.
    Sqlite(String),
    /// A PostgreSQL server; the component is granted its host and port.
    Postgres(PostgresAddress),
}

/// Fills in `component`'s database, and grants access to it.
pub(super) fn fill_in(
    component: &mut Component,
    template: &At<Template>,
    values: &BTreeMap<String, Value>,
    file: File<'_>,
) {
    let Some(value) = template.value.resolve(values) else { return };
    match read(value.expose(), &component.sqlite_databases, value.is_secret()) {
        Ok(database) => {
            if let DatabaseUrl::Postgres(address) = &database {
                component.allowed_outbound_hosts.push(AllowedHost::of_postgres(address.host(), address.port()));
            }
            component.database = Some(database);
        }
        Err((message, fix)) => {
            let names: Vec<_> = template.value.variables().collect();
            let (message, fix) = match names.as_slice() {
                [] => (format!("`database_url` {message}"), fix),
                names => {
                    let names = names.join("`, `");
                    (
                        format!("`database_url`, filled in from `{names}`, {message}"),
                        format!("change the value of `{names}`: {fix}"),
                    )
                }
            };
            file.report.error(file.diagnostic(Some(template.line), Some(&component.name), message, fix));
        }
    }
}

/// The database that `url` names; or what is wrong, as the end of a sentence, and the fix.
fn read(url: &str, labels: &[String], secret: bool) -> Result<DatabaseUrl, (String, String)> {
    const FORMS: &str = "write `sqlite:LABEL` or `postgres://USER:PASSWORD@HOST/DATABASE`";
    if PostgresAddress::looks_like_url(url) {
        return match PostgresAddress::parse(url) {
            Ok(address) => Ok(DatabaseUrl::Postgres(address)),
            Err(error) => Err((error.message, error.fix.to_owned())),
        };
    }
    let Some(label) = url.strip_prefix("sqlite:") else {
        return Err(("is not the URL of a database".to_owned(), FORMS.to_owned()));
    };
    if labels.iter().any(|granted| granted == label) {
        return Ok(DatabaseUrl::Sqlite(label.to_owned()));
    }
    let shown = if secret { "a database".to_owned() } else { format!("the database `{}`", label.escape_debug()) };
    let known = || labels.iter().map(String::as_str);
    let all = names::nearest_first(label, known()).join(", ");
    let all = format!("write `sqlite:` and one of its `sqlite_databases`: {all}");
    let fix = match (names::nearest(label, known()), labels) {
        (_, []) => "grant it with `sqlite_databases = [\"LABEL\"]`".to_owned(),
        (Some(near), [_]) => format!("did you mean `sqlite:{near}`?"),
        (Some(near), _) => format!("did you mean `sqlite:{near}`? Otherwise {all}"),
        (None, _) => all,
    };
    Err((format!("names {shown} that the component is not granted"), fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{app, load, with_component};
    use crate::{Application, ManifestErrors};

    /// A component with `database_url = "{{ url }}"`, and the variable's value.
    fn component(url: &str, secret: bool, more: &str) -> Result<Application, ManifestErrors> {
        let text = with_component(&format!("{more}\n[component.a.tool.souk]\ndatabase_url = \"{{{{ url }}}}\""));
        let text = format!("{text}\n[variables]\nurl = {{ required = true, secret = {secret} }}\n");
        let app = app(&text).env("SPIN_VARIABLE_URL", url);
        load(&app.options).map(|loaded| loaded.application)
    }

    fn granted(application: &Application) -> Vec<String> {
        application.components["a"].allowed_outbound_hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sqlite_database_must_be_one_that_is_granted() {
        let application = component("sqlite:main", true, "sqlite_databases = [\"main\"]").unwrap();
        assert_eq!(application.components["a"].database, Some(DatabaseUrl::Sqlite("main".into())));
        assert_eq!(granted(&application), [""; 0]);
    }

    #[test]
    fn a_postgresql_database_grants_its_host_and_port_only() {
        for (url, shown) in [
            ("postgres://me:s3cret@db.test/shop", "postgres://db.test:5432"),
            ("postgresql://me:s3cret@DB.test:6543/shop?sslmode=require", "postgres://db.test:6543"),
            ("postgres://me:s3cret@[::1]:6543", "postgres://[::1]:6543"),
        ] {
            let application = component(url, true, "").unwrap();
            assert_eq!(granted(&application), [shown]);
            assert!(!format!("{application:?}").contains("s3cret"));
            let host = &application.components["a"].allowed_outbound_hosts[0];
            let Some(DatabaseUrl::Postgres(address)) = &application.components["a"].database else { panic!("{url}") };
            assert!(host.allows_any_address("postgres", address.host(), address.port()));
            assert!(!host.allows("postgres", address.host(), address.port() + 1));
            assert!(!host.allows("postgres", "other.test", address.port()));
            assert!(!host.allows("http", address.host(), address.port()));
        }
        let more = "allowed_outbound_hosts = [\"postgresql://*.test:*\"]";
        let application = component("postgres://me@db.test/shop", true, more).unwrap();
        assert_eq!(granted(&application), ["postgresql://*.test:*", "postgres://db.test:5432"]);
    }

    #[test]
    fn a_wrong_url_is_an_error_with_line_and_fix_that_shows_nothing_of_it() {
        let granted = "sqlite_databases = [\"main\", \"other\"]";
        for (url, more, reason, fix) in [
            ("", "", "is not the URL of a database", "postgres://USER:PASSWORD@HOST/DATABASE"),
            ("s3cret", "", "is not the URL of a database", "sqlite:LABEL"),
            ("mysql://me:s3cret@db/shop", "", "is not the URL of a database", "sqlite:LABEL"),
            ("host=db user=me password=s3cret", "", "is not the URL of a database", "sqlite:LABEL"),
            ("postgres://me:s3cret@/shop", "", "has no host", "postgres://USER:PASSWORD@HOST/DATABASE"),
            ("postgres://me:s3cret@db/shop?sslkey=/s3cret", "", "`sslkey`", "remove the parameter"),
            ("sqlite:s3cret", "", "not granted", "sqlite_databases = [\"LABEL\"]"),
            ("sqlite:s3cret", granted, "not granted", "write `sqlite:` and one of its `sqlite_databases`: other, main"),
            ("sqlite:mian", granted, "not granted", "did you mean `sqlite:main`? Otherwise write `sqlite:` and one of"),
            ("sqlite:othr", granted, "not granted", "one of its `sqlite_databases`: other, main"),
        ] {
            let errors = component(url, true, more).unwrap_err();
            let error = errors.to_string();
            assert_eq!(errors.0.len(), 1, "{error}");
            assert!(errors.0[0].line.is_some() && error.contains("component `a`"), "{error}");
            assert!(error.contains("`database_url`, filled in from `url`, ") && error.contains(reason), "{error}");
            assert!(error.contains("fix: change the value of `url`: ") && error.contains(fix), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let error = component("sqlite:mian", false, granted).unwrap_err().to_string();
        assert!(error.contains("names the database `mian` that"), "{error}");
    }

    #[test]
    fn an_undeclared_variable_in_it_is_reported_without_values() {
        let text = with_component("[component.a.tool.souk]\ndatabase_url = \"{{ nobody }}\"");
        let error = app(&text).errors().to_string();
        assert!(error.contains("`nobody`, which is not declared"), "{error}");
    }
}
