//! What each component may reach: the list of what bindings open at start-up and grant. What it means stands with each
//! binding.

use super::error::StartError;
use souk_bindings::boundary::Boundaries;
use souk_bindings::budget::{ApplicationBudget, Budget};
use souk_bindings::http_client::{Clients, InternalDispatch};
use souk_bindings::outbound::{AllowedHosts, Dialer};
use souk_bindings::trace::Redaction;
use souk_bindings::{Grants, files, key_value, postgres, sqlite, variables};
use souk_manifest::state::StateFolder;
use souk_manifest::{Application, Component, Diagnostic};
use souk_nats::Nats;
use std::sync::Arc;

/// The values of the application's secret variables, wherever they go.
fn redaction(application: &Application) -> Redaction {
    let values = application.components.values().flat_map(|component| component.variables.values());
    Redaction::of(values.filter(|value| value.is_secret()).map(|value| value.expose()))
}

/// What components share.
#[derive(Clone)]
pub(super) struct Shared {
    sqlite: sqlite::Databases,
    postgres: Arc<postgres::Pools>,
    key_value: key_value::Stores,
    http: Clients,
    outbound: Dialer,
    budget: Arc<ApplicationBudget>,
    boundaries: Boundaries,
}

impl Shared {
    /// Nothing is open yet.
    pub(super) fn new(application: &Application, boundaries: Boundaries) -> Result<Self, StartError> {
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
        })
    }

    /// Opens what components of this host are granted; what is open already stays so. Blocks on the disk. Returns what
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

    /// What all instances may take together.
    pub(super) fn budget(&self) -> &Arc<ApplicationBudget> {
        &self.budget
    }

    /// Opens the way for requests between components of the application.
    pub(super) fn set_internal(&self, dispatch: InternalDispatch) {
        self.http.set_internal(dispatch);
    }

    /// The boundaries that calls cross.
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

    /// What `component` may reach.
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
        Ok(Grants {
            variables: variables::grant(component),
            environment: component.environment.clone().into_iter().collect(),
            files: files::grant(application, component, state.path())?,
            sqlite: self.sqlite.grant(component),
            postgres: self.postgres.grant(&allowed),
            key_value: self.key_value.grant(component),
            outbound: self.outbound.grant(&allowed),
            budget: self.budget.clone(),
            boundaries,
            traced_values: component.traces_arguments.then(|| Arc::new(redaction(application))),
            ..Grants::nothing(name, limits, http)
        })
    }
}
