//! Data that an operator gives on the command line for the application's databases and stores: `souk up --sqlite` and
//! `--key-value`, as in Spin.

use super::App;

/// The default label, as in Spin.
const DEFAULT: &str = "default";

/// The data for databases and stores.
#[derive(Default)]
pub struct Seeds {
    /// SQL statements, each with the label of its database; without a label for the database `default`.
    pub statements: Vec<(Option<String>, String)>,
    /// Keys with their values, for the store `default`.
    pub keys: Vec<(String, String)>,
}

impl App {
    /// Writes `seeds` into the databases and stores. Call it before the application serves.
    ///
    /// # Errors
    /// When no component is granted the database or store, or it rejects the data. The error never shows the data,
    /// which may be secret.
    pub async fn seed(&self, seeds: Seeds) -> anyhow::Result<()> {
        for (label, sql) in seeds.statements {
            let label = label.as_deref().unwrap_or(DEFAULT);
            let Some(database) = self.shared.databases().get(label).cloned() else {
                anyhow::bail!(
                    "--sqlite: no component that runs here has the database `{label}`\n  fix: add `{label}` to \
                     `sqlite_databases` of a component, or name another database: @FILE:LABEL"
                );
            };
            let ran = tokio::task::spawn_blocking(move || database.run_script(&sql)).await?;
            ran.map_err(|why| {
                anyhow::anyhow!(
                    "--sqlite: database `{label}`: {why}\n  fix: correct the statements; those before the \
                                 mistake were executed"
                )
            })?;
        }
        if seeds.keys.is_empty() {
            return Ok(());
        }
        let Some(store) = self.shared.stores().get(DEFAULT) else {
            anyhow::bail!(
                "--key-value: no component that runs here has the key-value store `{DEFAULT}`\n  fix: add `{DEFAULT}` to \
                 `key_value_stores` of a component"
            );
        };
        for (key, value) in seeds.keys {
            let set = store.set(key.clone(), value.into_bytes()).await;
            set.map_err(|error| {
                anyhow::anyhow!("--key-value: `{key}` cannot be set: {error}\n  fix: use a shorter key or value")
            })?;
        }
        Ok(())
    }
}
