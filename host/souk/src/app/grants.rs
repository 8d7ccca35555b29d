//! What each component may reach: everything that the bindings open at start-up and grant. Each binding explains its
//! own grants.

use super::error::StartError;
use crate::recordings::Recordings;
use souk_bindings::boundary::Boundaries;
use souk_bindings::budget::{ApplicationBudget, Budget};
use souk_bindings::http_client::{Clients, InternalDispatch};
use souk_bindings::outbound::{AllowedHosts, Dialer};
use souk_bindings::tape::{Recorder, Recording, Secrets};
use souk_bindings::trace::Redaction;
use souk_bindings::{Grants, files, key_value, postgres, sqlite, variables};
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component, Diagnostic, ManifestErrors};
use souk_nats::Nats;
use std::sync::Arc;

/// The values of the application's secret variables.
fn secret_values(application: &Application) -> impl Iterator<Item = &str> {
    let values = application.components.values().flat_map(|component| component.variables.values());
    values.filter(|value| value.is_secret()).map(|value| value.expose())
}

/// Removes these values everywhere.
fn redaction(application: &Application) -> Redaction {
    Redaction::of(secret_values(application))
}

/// The same values, to keep them out of recordings.
fn secrets(application: &Application) -> Secrets {
    Secrets::of(secret_values(application))
}

/// What all components share.
#[derive(Clone)]
pub(super) struct Shared {
    sqlite: sqlite::Databases,
    postgres: Arc<postgres::Pools>,
    key_value: key_value::Stores,
    http: Clients,
    outbound: Dialer,
    budget: Arc<ApplicationBudget>,
    boundaries: Boundaries,
    recordings: Option<Recordings>,
}

impl Shared {
    /// Creates it with nothing open.
    pub(super) fn new(application: &Application, boundaries: Boundaries) -> Result<Self, StartError> {
        boundaries.hidden().set(redaction(application));
        Ok(Shared {
            sqlite: sqlite::Databases::default(),
            postgres: Arc::default(),
            key_value: key_value::Stores::default(),
            http: Clients::open().map_err(StartError::Client)?,
            outbound: Dialer::default(),
            budget: Arc::new(ApplicationBudget {
                memory: Budget::new(application.limits.application_memory.as_u64()),
                files: Budget::new(application.limits.open_files),
            }),
            boundaries,
            recordings: None,
        })
    }

    /// Records the calls of components for which the manifest asks it.
    pub(super) fn record(&mut self, recordings: Option<Recordings>) {
        self.recordings = recordings;
    }

    /// Records what `application` asks for from now on. Blocks on the disk.
    pub(super) fn record_now(&mut self, application: &Application, state: &StateFolder) -> Result<(), StartError> {
        match &self.recordings {
            Some(recordings) => recordings.set_names(application),
            None => {
                self.recordings = Recordings::open(state.path(), application).map_err(StartError::Recordings)?;
            }
        }
        Ok(())
    }

    /// Keeps the secrets of both applications out of traces, the log and the reasons of failures from now on: while one
    /// follows the other, components have the variables of either.
    pub(super) fn hide_secrets(&self, applications: [&Application; 2]) {
        self.boundaries.hidden().set(Redaction::of(applications.into_iter().flat_map(secret_values)));
    }

    /// Opens what components of this host are granted, except what is open already. Blocks on the disk. Returns what
    /// cannot be opened.
    #[must_use]
    pub(super) async fn open(
        &mut self,
        application: &Application,
        state: &StateFolder,
        nats: Option<&Nats>,
    ) -> Vec<Diagnostic> {
        let mut mistakes = self.sqlite.open(application, &state.sqlite());
        mistakes.extend(self.key_value.open(application, &state.key_value(), nats, &self.boundaries).await);
        mistakes
    }

    /// The budget that all instances share.
    pub(super) fn budget(&self) -> &Arc<ApplicationBudget> {
        &self.budget
    }

    /// Sets the dispatch of requests between components of the application.
    pub(super) fn set_internal(&self, dispatch: InternalDispatch) {
        self.http.set_internal(dispatch);
    }

    /// The boundaries that calls cross, for traces and metrics.
    pub(super) fn boundaries(&self) -> &Boundaries {
        &self.boundaries
    }

    /// The connections to PostgreSQL.
    pub(super) fn postgres_pools(&self) -> Vec<postgres::PoolUse> {
        self.postgres.in_use()
    }

    /// The databases of SQLite.
    pub(super) fn databases(&self) -> &sqlite::Databases {
        &self.sqlite
    }

    /// The key-value stores.
    pub(super) fn stores(&self) -> &key_value::Stores {
        &self.key_value
    }

    /// The PostgreSQL servers that `component` may reach.
    pub(super) fn postgres_of(&self, component: &Component) -> postgres::Granted {
        self.postgres.grant(&AllowedHosts::new(&component.name, component.allowed_outbound_hosts.clone()))
    }

    /// The grants of `component`.
    pub(super) fn grant(
        &self,
        component: &Component,
        application: &Application,
        state: &StateFolder,
    ) -> Result<Grants, Diagnostic> {
        let allowed = AllowedHosts::new(&component.name, component.allowed_outbound_hosts.clone());
        let (name, limits) = (component.name.as_str().into(), component.limits.clone());
        let boundaries = self.boundaries.of_component(&component.name);
        let http = self.http.grant(component, &allowed, &boundaries);
        let (variables, environment) = (variables::grant(component), component.environment.clone());
        let environment: Vec<_> = environment.into_iter().collect();
        let files = files::grant(application, component, state.path())?;
        if component.is_recorded && files.is_some() {
            let message = "`record` is on, but recordings do not contain what it reads from its files";
            return Err(application.mistake(component, message, "remove `record`, or its `files`"));
        }
        let recordings = self.recordings.as_ref().filter(|_| component.is_recorded);
        let recorder = recordings.map(|recordings| {
            let (secrets, sink) = (Arc::new(secrets(application)), recordings.sink());
            Arc::new(Recorder::new(component.name.as_str().into(), &variables, &environment, secrets, sink))
        });
        Ok(Grants {
            variables,
            environment,
            files,
            recorder,
            sqlite: self.sqlite.grant(component),
            postgres: self.postgres.grant(&allowed),
            key_value: self.key_value.grant(component),
            outbound: self.outbound.grant(&allowed),
            budget: self.budget.clone(),
            boundaries,
            telemetry: self.boundaries.telemetry().clone(),
            hidden: self.boundaries.hidden().clone(),
            traced_values: component.traces_arguments.then(|| Arc::new(redaction(application))),
            ..Grants::nothing(name, limits, http)
        })
    }
}

/// What components are granted in replays: separate stores and databases, which are empty.
pub(crate) struct ReplayGrants {
    application: Application,
    state: StateFolder,
    shared: Shared,
}

impl ReplayGrants {
    /// Opens them in `state`, wherever the application keeps its own.
    ///
    /// # Errors
    /// When they cannot be created.
    pub(crate) async fn open(application: &Application, state: StateFolder) -> anyhow::Result<Self> {
        let mut application = application.clone();
        application.key_value_places.clear();
        application.sqlite_paths.clear();
        let mut shared = Shared::new(&application, Boundaries::off())?;
        ManifestErrors::check(shared.open(&application, &state, None).await)?;
        Ok(ReplayGrants { application, state, shared })
    }

    /// The grants of `component`, with its variables as recorded and the current secrets.
    ///
    /// # Errors
    /// When the component reads files.
    pub(crate) fn of(&self, component: &Component, recording: &Recording) -> anyhow::Result<(Grants, Arc<Secrets>)> {
        let grants = self.shared.grant(component, &self.application, &self.state);
        let mut grants = grants.map_err(|mistake| ManifestErrors(vec![mistake]))?;
        // A recording lacks the secret values; they come from the current configuration.
        let named = &recording.head.secrets;
        grants.variables.retain(|name, _| named.contains(name));
        grants.environment.retain(|(name, _)| named.contains(name));
        // A value that was secret then may not be secret now; it stays out of the comparison in any case.
        let values = grants.variables.values().chain(grants.environment.iter().map(|(_, value)| value));
        let secrets = Arc::new(secrets(&self.application).and(values.map(String::as_str)));
        grants.variables.extend(recording.variables.clone());
        grants.environment.extend(recording.environment.clone());
        grants.environment.sort_unstable();
        Ok((grants, secrets))
    }
}
