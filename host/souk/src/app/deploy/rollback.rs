//! Goes back to a stored version: deploys its file again, with the same checks.

use super::super::App;
use super::error::DeployError;
use super::order::{Deployed, Order};
use std::sync::Arc;
use tokio::task::block_in_place;

impl App {
    /// Goes back to a stored version, by default the previous one. A version on trial is removed instead.
    ///
    /// # Errors
    /// As [`App::deploy`].
    pub async fn roll_back(
        self: &Arc<Self>,
        component: &str,
        number: Option<u64>,
        by: &str,
    ) -> Result<Deployed, DeployError> {
        // A trial is ended at once, and not only when its promotion or another deployment has ended.
        if let Some(ended) = self.withdraw(component, number, by) {
            self.record_ends().await;
            return Ok(ended);
        }
        // What the component's versions are is known only when no deployment is about to change it.
        let turn = self.deployments.turn.lock().await;
        if let Some(ended) = self.withdraw(component, number, by) {
            drop(turn);
            self.record_ends().await;
            return Ok(ended);
        }
        self.may_deploy(component).await?;
        let (declared, _) = self.here(component)?;
        let book = self.deployments.books.of(component);
        let number = number.or(book.previous).ok_or_else(|| {
            DeployError::Refused(format!(
                "component `{component}` has no version before this one\n  fix: `souk versions {component}` lists the \
                 stored ones"
            ))
        })?;
        let known: Vec<String> = book.versions.iter().map(|version| version.number.to_string()).collect();
        let Some(version) = book.version(number) else {
            let message =
                format!("component `{component}` has no version {number}\n  fix: name one of {}", known.join(", "));
            return Err(DeployError::Refused(message));
        };
        let folder = self.deployments.books.folder();
        let Some(bytes) = block_in_place(|| folder.read(&version.digest)) else {
            let message = format!(
                "component `{component}`: {}, the file of version {number}, is missing or was changed\n  fix: deploy that \
                 file once more (`souk deploy {component} FILE`), or name another version: {}",
                folder.file(&version.digest).display(),
                known.join(", ")
            );
            return Err(DeployError::Refused(message));
        };
        let (before, by) = (book.active, self.requester(by.to_owned()));
        let order =
            Order { component: declared.name.clone(), bytes: Some(bytes), trial: None, by: by.clone(), check: false };
        let done = self.deploy_in_turn(order, None).await?;
        if self.deployments.books.of(component).active != before {
            let why = format!("taken back by {by}: version {} has the file of version {number}", done.version);
            tracing::info!(component, "version {before} of component `{component}` was {why}");
            block_in_place(|| self.deployments.books.note(component, before, &why));
        }
        Ok(done)
    }

    /// Lets the other hosts know of trials that have ended, so that one of them can try out a version at once. If that
    /// fails, the next check does it, about a second later.
    async fn record_ends(&self) {
        if let Some(intents) = &self.deployments.intents {
            self.end_recorded_trials(intents).await;
        }
    }

    /// Withdraws the version on trial, unless a `number` says to which version to go back.
    fn withdraw(&self, component: &str, number: Option<u64>, by: &str) -> Option<Deployed> {
        if number.is_some() {
            return None;
        }
        let trial = self.end_trial(component, None, &format!("taken away by {by}"))?;
        let message = format!("version {trial} was tried out and gets no more calls");
        Some(Deployed { component: component.to_owned(), version: trial, message })
    }
}
