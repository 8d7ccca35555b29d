//! The durable messages that wait for a component, compared with the functions of a new version of it.
//!
//! A deployment and a start with a changed `source` ask the same: can the new version take every message that is stored
//! for it? A message for a function with the same type as before needs no look. Only the arguments of the others are
//! read and decoded, so that the check costs nothing when no contract has changed. A message that is stranded already
//! waits for another version anyway, and refuses none.

use super::chosen::{ChosenVersion, Reason};
use super::version_folder::VersionFolder;
use souk_codec::FunctionCodec;
use souk_codec::signature::signature;
use souk_links::durable::operator::{self, Event, FoundEvents, MAX_LISTED, Refusal, RefusalKind};
use souk_links::durable::{self, Queue};
use souk_manifest::{Application, Component as Declared, Diagnostic};
use souk_runtime::{Engine, Exported, Pool};
use std::collections::BTreeMap;
use std::sync::Arc;

souk_manifest::fixed_limits! {
    /// The fixed limits of the comparison with stored messages.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// The most stored messages that are named when a new version does not fit them.
    const MAX_REPORTED_MESSAGES: usize = 10, "messages";
}

/// The messages of a queue, as far as they are listed.
pub(super) struct Stored<'a> {
    queue: &'a Queue,
    found: FoundEvents,
}

impl<'a> Stored<'a> {
    /// Lists them.
    pub(super) async fn list(queue: &'a Queue) -> Result<Self, Refusal> {
        let all = operator::Request::List { dead: false, most: MAX_LISTED };
        Ok(Stored { queue, found: operator::run(Some(queue), all).await? })
    }

    fn is_complete(&self) -> bool {
        self.found.total <= self.found.events.len() as u64
    }

    fn waiting_for(&self, component: &str) -> impl Iterator<Item = &Event> {
        self.found.events.iter().filter(move |event| event.component == component && event.state != "stranded")
    }

    /// Whether there may be one for `component`.
    fn may_wait_for(&self, component: &str) -> bool {
        !self.is_complete() || self.waiting_for(component).next().is_some()
    }

    /// The messages for the component that a version with the functions `exported` would not take. `before` has the
    /// functions of the version that accepted them; without it, every message is compared.
    pub(super) async fn refused_by(
        &self,
        application: &Application,
        declared: &Declared,
        before: Option<&Exported>,
        exported: &Exported,
    ) -> Vec<Diagnostic> {
        let unchanged = |event: &Event| {
            let before = before.and_then(|before| before.function(&event.interface, &event.function));
            let now = exported.function(&event.interface, &event.function);
            matches!((before, now), (Some(a), Some(b)) if signature("", &a.ty) == signature("", &b.ty))
        };
        let changed: Vec<&Event> = self.waiting_for(&declared.name).filter(|event| !unchanged(event)).collect();
        // Those that are not listed may be for any function that receives messages.
        let all_fit = changed.is_empty() && before.is_some_and(|before| !durable::changes_deliveries(before, exported));
        if !self.is_complete() && !all_fit {
            let message =
                format!("{} messages wait, which are too many to compare with its new types", self.found.total);
            return vec![application.mistake(declared, message, "deploy it when fewer wait (`souk events list`)")];
        }
        let mut mistakes = Vec::new();
        for event in changed {
            let (id, function) = (&event.id, format!("{}#{}", event.interface, event.function));
            let show = operator::Request::Show(id.clone());
            let shown = match shown(operator::run(Some(self.queue), show).await) {
                Ok(shown) => shown,
                Err(why) => {
                    mistakes.push(unread(application, declared, &why));
                    break;
                }
            };
            let Some(arguments) = shown.and_then(|event| event.arguments) else { continue };
            let why = match exported.function(&event.interface, &event.function) {
                None => "which it does not export any more".to_owned(),
                Some(to) => {
                    match FunctionCodec::of(&to.ty).map(|codec| codec.decode_params(arguments.get().as_bytes())) {
                        Ok(Ok(_)) => continue,
                        Ok(Err(error)) => format!("and does not fit it any more: {error}"),
                        Err(error) => format!("which no message can call: {error}"),
                    }
                }
            };
            let message = format!("message {id} waits for `{function}`, {why}");
            let fix = "wait until it is delivered, or drop it with `souk events drop`";
            mistakes.push(application.mistake(declared, message, fix));
            if mistakes.len() >= MAX_REPORTED_MESSAGES {
                break;
            }
        }
        mistakes
    }
}

/// The message in the queue's `answer`; `None` if it was delivered or dropped since it was listed.
fn shown(answer: Result<FoundEvents, Refusal>) -> Result<Option<Event>, Refusal> {
    match answer {
        Ok(found) => Ok(found.events.into_iter().next()),
        Err(refusal) if refusal.kind == RefusalKind::Unknown => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The mistake for messages that cannot be listed or read.
pub(super) fn unread(application: &Application, declared: &Declared, why: &Refusal) -> Diagnostic {
    let message = format!("the messages that wait for it cannot be read: {why}");
    application.mistake(declared, message, "try again when the queue answers")
}

/// The messages that the versions of `chosen` would not take, by component: of those versions that run because their
/// `source` has changed. What the hosts have agreed on was compared by the host that deployed it.
pub(crate) async fn refused_by_changed(
    queue: Option<&Queue>,
    engine: &Engine,
    application: &Application,
    (chosen, kept): (&BTreeMap<String, ChosenVersion>, &VersionFolder),
    pools: &BTreeMap<String, Arc<Pool>>,
) -> BTreeMap<String, Vec<Diagnostic>> {
    let mut refused = BTreeMap::new();
    let changed: Vec<_> = chosen.iter().filter(|(_, one)| one.reason == Reason::SourceChanged).collect();
    let (Some(queue), false) = (queue, changed.is_empty()) else { return refused };
    let stored = Stored::list(queue).await;
    for (name, one) in changed {
        let (Some(declared), Some(pool)) = (application.components.get(name), pools.get(name)) else { continue };
        let mistakes = match &stored {
            Err(why) => vec![unread(application, declared, why)],
            Ok(stored) if !stored.may_wait_for(name) => continue,
            Ok(stored) => {
                let (before, active) = (exported_before(engine, one, kept).await, pool.active());
                stored.refused_by(application, declared, before.as_ref(), &active.compiled().exported).await
            }
        };
        if !mistakes.is_empty() {
            refused.insert(name.clone(), mistakes);
        }
    }
    refused
}

/// The functions of the version that served last, if its file is still whole. Its code is in the cache as a rule.
async fn exported_before(engine: &Engine, one: &ChosenVersion, kept: &VersionFolder) -> Option<Exported> {
    let (number, file) = (one.book.active()?.number, kept.read(&one.book.active()?.digest)?);
    let code = engine.compiler().compile_bytes(&format!("version {number}"), "the file", file).await.ok()?;
    Some(Exported::of(engine.wasmtime(), &code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_the_queue_cannot_show_is_not_taken_for_one_that_is_gone() {
        assert!(matches!(shown(Err(operator::unknown("1"))), Ok(None)));
        let mut failed = operator::unknown("1");
        failed.kind = RefusalKind::Failed;
        assert!(shown(Err(failed)).is_err());
    }
}
