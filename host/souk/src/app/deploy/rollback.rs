//! Goes back to a stored version: deploys its file again, with the same checks.

use super::super::App;
use super::version_folder::digest;
use super::{DeployError, Deployed, Order};
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
        let trial = self.deployments.trials.lock().get(component).map(|trial| trial.number);
        if let (Some(trial), None) = (trial, number) {
            self.end_trial(component, &format!("taken away by {by}"));
            let message = format!("version {trial} was tried out and gets no more calls");
            return Ok(Deployed { component: component.to_owned(), version: trial, message });
        }
        // What the component's versions are is known only when no deployment is about to change it.
        let _turn = self.deployments.turn.lock().await;
        self.may_deploy(component).await?;
        let (declared, _) = self.here(component)?;
        let book = self.book(component);
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
        let path = self.deployments.kept.file(&version.digest);
        let bytes = block_in_place(|| std::fs::read(&path))
            .map_err(|cause| DeployError::NotKept { component: component.to_owned(), cause })?;
        if block_in_place(|| digest(&bytes)) != version.digest {
            let message = format!(
                "component `{component}`: {} has other bytes than version {number} had\n  fix: deploy the file once more",
                path.display()
            );
            return Err(DeployError::Refused(message));
        }
        let order = Order {
            component: declared.name.clone(),
            bytes: Some(bytes),
            trial: None,
            by: self.requester(by.to_owned()),
            check: false,
        };
        self.deploy_in_turn(order, None).await
    }
}
