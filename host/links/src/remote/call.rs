//! The caller's side: sends a call, waits for its answer, and sends it again if that is safe.

use super::called::CalledFunction;
use super::expected::TYPES_INTERVAL;
use super::hosts::{Hosts, LastTime, NO_HOST_TTL, Trial};
use super::inbox::{Inbox, PendingAnswer};
use super::micro::PROBE_TIMEOUT;
use super::served::ServedFunction;
use super::{LOST_AFTER, MAX_ATTEMPTS, OUTAGE_GRACE, WORKING_INTERVAL, wire};
use async_nats::client::PublishErrorKind;
use async_nats::{Client, Message, StatusCode, Subject};
use bytes::Bytes;
use parking_lot::Mutex;
use souk_bindings::call::CallContext;
use souk_bindings::trace::Attribute;
use souk_nats::{ALLOW, Nats, NatsError, Outage};
use souk_runtime::{CallError, Failure};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of calls.
    pub(crate) const FIXED_LIMITS = "remote";

    /// The pause before a call to a component without a host is tried again, after the first attempt.
    const FIRST_NO_HOST_PAUSE: Duration = Duration::from_millis(100);
    /// The pause before a call to a component without a host is tried again, after the second and later attempts.
    const NO_HOST_RETRY_INTERVAL: Duration = Duration::from_millis(500);
    /// How long a call waits for a host that can answer its type but does not take it yet: twice as long as such hosts
    /// need to learn of a new type, and a second.
    const COMPATIBLE_TYPE_TIMEOUT: Duration = Duration::from_secs(2 * TYPES_INTERVAL.as_secs() + 1);
    /// The pause before such a call is sent again.
    const COMPATIBLE_TYPE_PAUSE: Duration = Duration::from_millis(50);
    /// After this time without such a call, the next one waits the full time again.
    const COMPATIBLE_TYPE_MEMORY: Duration = Duration::from_secs(60);
    /// The most hosts that one attempt chooses and finds gone, before it leaves the choice to NATS.
    const MAX_HOST_CHOICES: u32 = 2, "hosts";
}

/// The connection to components on other hosts; cheap to clone.
#[derive(Clone)]
pub struct Remote(Arc<Connection>);

struct Connection {
    nats: Nats,
    inbox: Inbox,
    /// When the connection last came back.
    back: Arc<LastTime>,
    /// What is known of the hosts of each component.
    hosts: Mutex<HashMap<Arc<str>, Arc<Hosts>>>,
    _watch: AbortOnDropHandle<()>,
}

/// The destination of calls; created at start-up.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) component: Arc<str>,
    /// The subject on which its hosts take such calls.
    pub(super) subject: Subject,
    /// The subject on which they take cancellations.
    cancel: Subject,
    /// The function as the caller knows it; `None` for HTTP.
    function: Option<Arc<Expected>>,
    idempotent: bool,
    hosts: Arc<Hosts>,
}

/// The called function, and the result of the last probe after no host took a call.
#[derive(Debug)]
struct Expected {
    function: CalledFunction,
    /// When the hosts were last probed for the function, and the result.
    probe: tokio::sync::Mutex<Option<(Instant, ProbeResult)>>,
}

/// What the hosts of a component serve, when none of them took a call.
#[derive(Debug, Clone)]
enum ProbeResult {
    /// No host runs the component, as far as is known.
    NoHost,
    /// Another type of the function, which this describes.
    OtherType(String),
    /// Another type whose hosts can answer this one, and since when that is known: they are about to take such calls.
    CompatibleType(Instant, String),
}

impl Target {
    /// The target of calls of `function` of `component`. With `idempotent`, a call may be sent again when it is unknown
    /// whether it was done.
    pub fn function(remote: &Remote, component: &Arc<str>, function: CalledFunction, idempotent: bool) -> Self {
        let CalledFunction { interface, name, digest, .. } = &function;
        let subject = remote.nats().subjects().call(component, interface, name, digest).into();
        let expected = Expected { function, probe: tokio::sync::Mutex::default() };
        Target { function: Some(Arc::new(expected)), ..Target::of(remote, component, subject, idempotent) }
    }

    /// The name of the target in traces.
    fn name(&self) -> String {
        match &self.function {
            Some(expected) => format!("{}#{}", expected.function.interface, expected.function.name),
            None => format!("HTTP to {}", self.component),
        }
    }

    /// The target of HTTP requests for `component`; `idempotent` as for [`Target::function`].
    pub(super) fn http(remote: &Remote, component: &Arc<str>, idempotent: bool) -> Self {
        Target::of(remote, component, remote.nats().subjects().http(component).into(), idempotent)
    }

    fn of(remote: &Remote, component: &Arc<str>, subject: Subject, idempotent: bool) -> Self {
        let cancel = remote.nats().subjects().cancel(component).into();
        let mut all = remote.0.hosts.lock();
        let hosts = all.entry(component.clone()).or_default().clone();
        Target { component: component.clone(), subject, cancel, function: None, idempotent, hosts }
    }
}

/// The subject on which only `host` takes the calls that all hosts share on `subject`.
pub(super) fn host_subject(subject: &str, host: &str) -> String {
    format!("{subject}.{host}")
}

/// The subject on which the host that tries out a version takes the calls for it; `id` is that of the trial.
pub(super) fn trial_subject(subject: &str, id: &str) -> String {
    host_subject(subject, &format!("trial-{id}"))
}

/// Why one attempt has no answer.
enum Broken {
    /// There is no connection to NATS; nothing was sent.
    Disconnected,
    /// No host runs the component; nothing was started.
    NoHost,
    /// It was sent, and it is unknown whether it was done.
    Lost {
        how: &'static str,
        /// Whether the host fell silent, in contrast to a broken connection.
        silent: bool,
    },
    /// Sending again would not help.
    Failed(CallError),
}

impl Remote {
    /// Opens the connection over `nats`.
    ///
    /// # Errors
    /// When the connection has been closed.
    pub async fn open(nats: Nats) -> Result<Self, NatsError> {
        let inbox = Inbox::open(nats.client()).await?;
        let back: Arc<LastTime> = Arc::default();
        let watch = tokio::spawn(note_returns(nats.outage(), back.clone()));
        let hosts = Mutex::default();
        Ok(Remote(Arc::new(Connection { nats, inbox, back, hosts, _watch: AbortOnDropHandle::new(watch) })))
    }

    /// The connection.
    pub fn nats(&self) -> &Nats {
        &self.0.nats
    }

    /// Notes which versions of components single hosts try out; calls for them go there from now on.
    pub fn set_trials(&self, trials: &BTreeMap<String, Trial>) {
        let mut all = self.0.hosts.lock();
        for component in trials.keys() {
            all.entry(component.as_str().into()).or_default();
        }
        for (component, hosts) in all.iter() {
            hosts.set_trial(trials.get(&**component).cloned());
        }
    }

    /// Sends a call to the host that tries out the version that it is for. `None` if the call is for none, or that host
    /// did not take it: then it was not started, or it may be sent again.
    pub(super) async fn call_tried_out(
        &self,
        target: &Target,
        caller: &str,
        payload: Bytes,
        context: &CallContext,
    ) -> Option<Result<Bytes, CallError>> {
        let id = target.hosts.trial(context.draw)?;
        let subject = trial_subject(&target.subject, &id).into();
        match self.attempt(target, subject, caller, payload, context).await {
            Ok(answer) => Some(Ok(answer)),
            Err(Broken::NoHost | Broken::Disconnected) => None,
            Err(Broken::Lost { how, silent }) => {
                if silent {
                    target.hosts.lost.note();
                    target.hosts.note_trial_lost();
                }
                let lost = CallError::new(&target.component, Failure::Lost, how);
                (!target.idempotent).then_some(Err(lost))
            }
            Err(Broken::Failed(error)) if error.failure == Failure::RequestTooLarge => None,
            // A host that has the component itself sends no message for its answer, so the answer may be larger.
            Err(Broken::Failed(error)) if error.failure == Failure::ResponseTooLarge && target.idempotent => None,
            Err(Broken::Failed(error)) => Some(Err(error)),
        }
    }

    /// The most bytes that a message may have.
    pub fn max_payload(&self) -> usize {
        self.0.nats.client().max_payload()
    }

    /// Sends `payload` to `target`, and returns the payload of its answer. Dropping the future cancels the call.
    ///
    /// # Errors
    /// When no host took it, when it failed there, or when `context`'s deadline passed; never after the deadline.
    pub async fn call(
        &self,
        target: &Target,
        caller: &str,
        payload: Bytes,
        context: &CallContext,
    ) -> Result<Bytes, CallError> {
        if !context.span.is_recorded() {
            return self.answered(target, caller, payload, context).await;
        }
        let mut context = context.clone();
        let mut leaving = context.span.leave(&target.name());
        leaving.note("souk.link", || Attribute::Name("remote"));
        leaving.note("souk.callee", || Attribute::text(&*target.component));
        let answer = Box::pin(self.answered(target, caller, payload, &context)).await;
        leaving.end(answer.as_ref().err().map(|error| error.failure.key()));
        answer
    }

    async fn answered(
        &self,
        target: &Target,
        caller: &str,
        payload: Bytes,
        context: &CallContext,
    ) -> Result<Bytes, CallError> {
        let failed = |failure, detail: &str| CallError::new(&target.component, failure, detail);
        let mut attempt = 1;
        // Whether a component without a host may get one again soon.
        let mut may_recover = self.0.back.is_recent() || target.hosts.answered.is_recent();
        // How many chosen hosts turned out to be gone.
        let mut gone = 0;
        // Boxed, because it is rare and would enlarge the future of every call.
        if target.hosts.trial(context.draw).is_some()
            && let Some(answer) = Box::pin(self.call_tried_out(target, caller, payload.clone(), context)).await
        {
            return answer;
        }
        loop {
            if target.idempotent {
                may_recover |= self.connected(context).await;
            }
            let host = if gone < MAX_HOST_CHOICES { self.host(target, context).await } else { None };
            let subject = match &host {
                Some(host) => host_subject(&target.subject, host).into(),
                None => target.subject.clone(),
            };
            let broken = match self.attempt(target, subject, caller, payload.clone(), context).await {
                Ok(answer) => return Ok(answer),
                // The chosen host is gone and has started nothing; there may be others.
                Err(Broken::NoHost) if host.is_some() => {
                    target.hosts.forget().await;
                    gone += 1;
                    continue;
                }
                Err(broken) => {
                    if let Broken::Lost { silent: true, .. } = broken {
                        target.hosts.lost.note();
                    }
                    broken
                }
            };
            let again = target.idempotent && attempt < MAX_ATTEMPTS && !context.remaining().is_zero();
            let pause = match (broken, again) {
                (Broken::Failed(error), _) => return Err(error),
                (Broken::Lost { .. } | Broken::Disconnected, true) if self.may_return() => Duration::ZERO,
                (Broken::NoHost, true) if may_recover && attempt == 1 => FIRST_NO_HOST_PAUSE,
                (Broken::NoHost, true) if may_recover => NO_HOST_RETRY_INTERVAL,
                (Broken::Lost { how, .. }, _) => return Err(failed(Failure::Lost, how)),
                (Broken::Disconnected, _) => {
                    return Err(failed(Failure::Unreachable, "there is no connection to NATS"));
                }
                // It was not started, so any call may wait.
                (Broken::NoHost, _) => match self.no_host(target, caller, context).await {
                    None if !context.remaining().is_zero() => {
                        tokio::time::sleep(COMPATIBLE_TYPE_PAUSE.min(context.remaining())).await;
                        gone = 0;
                        continue;
                    }
                    None => return Err(failed(Failure::Deadline, "no host took it in time")),
                    Some(error) => return Err(error),
                },
            };
            may_recover = true;
            gone = 0;
            attempt += 1;
            tracing::info!(
                component = %target.component,
                trace = %context.trace,
                "a call had no answer and may be repeated: attempt {attempt} of {MAX_ATTEMPTS}"
            );
            tokio::time::sleep(pause.min(context.remaining())).await;
        }
    }

    /// Why no host took a call: none runs the component, or those that do have another type of the function. The hosts
    /// are probed once in [`NO_HOST_TTL`], however many calls there are. `None` when a host is about to take the call.
    async fn no_host(&self, target: &Target, caller: &str, context: &CallContext) -> Option<CallError> {
        let component = &target.component;
        let nobody = || CallError::new(component, Failure::Unreachable, "no host runs it");
        let Some(expected) = &target.function else { return Some(nobody()) };
        let asked = async {
            // Held during the probe: other calls wait for the same answer.
            let mut probe = expected.probe.lock().await;
            if let Some((asked, result)) = &*probe
                && asked.elapsed() < NO_HOST_TTL
            {
                return result.clone();
            }
            let served = ServedFunction::within(PROBE_TIMEOUT, &self.0.nats, component).await;
            let differs = |served: &[ServedFunction]| expected.function.differs(served);
            let result = match served.map(|served| (differs(&served), expected.function.has_compatible(&served))) {
                Ok((Some(there), true)) => match &*probe {
                    Some((asked, ProbeResult::CompatibleType(since, _)))
                        if asked.elapsed() < COMPATIBLE_TYPE_MEMORY =>
                    {
                        ProbeResult::CompatibleType(*since, there)
                    }
                    _ => ProbeResult::CompatibleType(Instant::now(), there),
                },
                Ok((Some(there), false)) => ProbeResult::OtherType(there),
                Ok((None, _)) | Err(_) => ProbeResult::NoHost,
            };
            *probe = Some((Instant::now(), result.clone()));
            result
        };
        match tokio::time::timeout_at(context.deadline, asked).await {
            Ok(ProbeResult::CompatibleType(since, _)) if since.elapsed() < COMPATIBLE_TYPE_TIMEOUT => None,
            Ok(ProbeResult::OtherType(there) | ProbeResult::CompatibleType(_, there)) => {
                let message = expected.function.mismatch_message(caller, component, &there);
                Some(CallError::new(component, Failure::Mismatch, message))
            }
            Ok(ProbeResult::NoHost) | Err(_) => Some(nobody()),
        }
    }

    /// The host to call; `None` when NATS chooses.
    async fn host(&self, target: &Target, context: &CallContext) -> Option<Arc<str>> {
        if *self.0.nats.outage().borrow() != Outage::None {
            return None;
        }
        let host = target.hosts.choose(&self.0.nats, &target.component);
        tokio::time::timeout_at(context.deadline, host).await.ok().flatten()
    }

    /// Whether there is a connection, or may be one soon.
    fn may_return(&self) -> bool {
        match *self.0.nats.outage().borrow() {
            Outage::None => true,
            Outage::Since(since) => since.elapsed() < OUTAGE_GRACE,
        }
    }

    /// Waits for the connection while its outage is younger than [`OUTAGE_GRACE`]. Returns whether there was an outage.
    async fn connected(&self, context: &CallContext) -> bool {
        let mut outage = self.0.nats.outage();
        let Outage::Since(since) = *outage.borrow_and_update() else { return false };
        let end = (since + OUTAGE_GRACE).min(context.deadline);
        // If it has not come back by then, the attempt fails.
        let _ = tokio::time::timeout_at(end, outage.wait_for(|outage| *outage == Outage::None)).await;
        true
    }

    async fn attempt(
        &self,
        target: &Target,
        subject: Subject,
        caller: &str,
        payload: Bytes,
        context: &CallContext,
    ) -> Result<Bytes, Broken> {
        let (client, mut outage, start) = (self.0.nats.client(), self.0.nats.outage(), Instant::now());
        // A message that is published now would be delivered whenever NATS comes back.
        if *outage.borrow_and_update() != Outage::None {
            return Err(Broken::Disconnected);
        }
        let fail = |failure, detail: &str| Broken::Failed(CallError::new(&target.component, failure, detail));
        let mut expected = self.0.inbox.expect();
        let headers = wire::call(&expected.id, caller, context);
        let mut cancel = CancelOnDrop { client, subject: None, id: expected.id.clone() };
        let answer = {
            let sent = client.publish_with_reply_and_headers(subject.clone(), expected.reply.clone(), headers, payload);
            let answer = async {
                sent.await.map_err(|error| match error.kind() {
                    PublishErrorKind::MaxPayloadExceeded => fail(Failure::RequestTooLarge, TOO_LARGE),
                    _ => Broken::Disconnected,
                })?;
                cancel.subject = Some(target.cancel.clone());
                wait(&mut expected, context).await.map_err(|ended| match ended {
                    Ended::Late => fail(Failure::Deadline, "on another host"),
                    Ended::Lost => Broken::Lost { how: "the host that took the call no longer responds", silent: true },
                })
            };
            tokio::select! {
                biased;
                answer = answer => answer,
                _ = outage.changed() => Err(Broken::Lost { how: "the connection to NATS broke during the call", silent: false }),
                // A stalled connection accepts nothing, and the client notices that only when its pings fail.
                () = tokio::time::sleep_until(context.deadline) => Err(fail(Failure::Deadline, "on another host")),
            }
        };
        let answer = match answer {
            Err(Broken::Lost { .. }) if self.0.nats.is_denied(&subject, start) => {
                // The server refused it, so it has reached no host.
                cancel.subject = None;
                if subject != target.subject {
                    // Each attempt would wait for the refusal.
                    target.hosts.note_trial_lost();
                    return Err(Broken::NoHost);
                }
                let detail = format!("this host's NATS user may not publish to `{subject}`; fix: {ALLOW}");
                return Err(fail(Failure::Unreachable, &detail));
            }
            answer => answer?,
        };
        // The callee has finished it too.
        cancel.subject = None;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Broken::NoHost);
        }
        target.hosts.answered.note();
        match wire::failure(answer.headers.as_ref()) {
            None => Ok(answer.payload),
            Some(failure) => Err(fail(failure, "on another host, whose log says more")),
        }
    }
}

/// The fix for a message that is too large.
pub(super) const TOO_LARGE: &str = "it is larger than a message may be; raise `max_payload` of the NATS server";

/// Why a call is not awaited any longer.
enum Ended {
    /// Its deadline has passed.
    Late,
    /// Its host is silent, or the connection is gone.
    Lost,
}

/// Waits for the answer as long as messages report that the call runs.
async fn wait(expected: &mut PendingAnswer, context: &CallContext) -> Result<Message, Ended> {
    let mut awake = expected.heard();
    loop {
        let lost = expected.heard().max(awake) + LOST_AFTER;
        let until = lost.min(context.deadline);
        match tokio::time::timeout_at(until, &mut expected.answered).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) => return Err(Ended::Lost),
            Err(_) if context.deadline <= lost => return Err(Ended::Late),
            // This host itself stood still, so messages that arrived meanwhile are not read yet.
            Err(_) if until.elapsed() > WORKING_INTERVAL => awake = Instant::now(),
            Err(_) if expected.heard().max(awake) + LOST_AFTER <= Instant::now() => return Err(Ended::Lost),
            Err(_) => {}
        }
    }
}

/// Sends a cancellation to the callee's hosts when the caller stops waiting.
struct CancelOnDrop<'a> {
    client: &'a Client,
    /// `None` before the call is sent and after its answer: there is nothing to cancel.
    subject: Option<Subject>,
    id: String,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let (Some(subject), Ok(runtime)) = (self.subject.take(), tokio::runtime::Handle::try_current()) else { return };
        let (client, id) = (self.client.clone(), std::mem::take(&mut self.id));
        runtime.spawn(async move {
            if let Err(error) = client.publish(subject, id.into()).await {
                tracing::debug!("a call could not be cancelled: {error}");
            }
        });
    }
}

/// Records when the connection comes back.
async fn note_returns(mut outage: watch::Receiver<Outage>, back: Arc<LastTime>) {
    while outage.changed().await.is_ok() {
        if *outage.borrow_and_update() == Outage::None {
            back.note();
        }
    }
}
