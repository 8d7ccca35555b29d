//! Records the calls of a component.

use super::{Answer, Entry, Head, MAX_RECORDING_BYTES, Question, Reads, Recording, Secrets, Tape};
use crate::call::CallContext;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The format of recordings that this host writes and reads.
pub const FORMAT: u32 = 1;

/// Receives each recording; must not wait.
type Sink = Arc<dyn Fn(Recording) + Send + Sync>;

/// Records the calls of one component.
pub struct Recorder {
    component: Arc<str>,
    secrets: Arc<Secrets>,
    sink: Sink,
    variables: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    named: Vec<String>,
}

impl Recorder {
    /// A recorder that passes the calls of `component` to `sink`.
    pub fn new(
        component: Arc<str>,
        variables: &BTreeMap<String, String>,
        environment: &[(String, String)],
        secrets: Arc<Secrets>,
        sink: Sink,
    ) -> Self {
        let mut named = Vec::new();
        let mut open = |name: &String, value: &String| {
            let secret = secrets.are_in(value);
            if secret {
                named.push(name.clone());
            }
            (!secret).then(|| (name.clone(), value.clone()))
        };
        let variables = variables.iter().filter_map(|(name, value)| open(name, value)).collect();
        let environment = environment.iter().filter_map(|(name, value)| open(name, value)).collect();
        Recorder { component, secrets, sink, variables, environment, named }
    }

    /// Begins to record the call of `context`, which gets its tape, to the version whose file has this digest. `None`
    /// if the system has no random bytes.
    pub fn begin(self: &Arc<Self>, context: &mut CallContext, digest: &str, question: Question) -> Option<Arc<Tape>> {
        let mut seed = [0; 32];
        souk_manifest::clock::fill_random(&mut seed).ok()?;
        let trace = context.span.traceparent();
        let head = Head {
            format: FORMAT,
            component: self.component.to_string(),
            digest: digest.to_owned(),
            request: context.trace.to_string(),
            trace: trace.as_deref().and_then(|parent| parent.split('-').nth(1)).unwrap_or_default().to_owned(),
            time: u64::try_from(souk_manifest::clock::since_epoch().as_millis()).unwrap_or(u64::MAX),
            secrets: self.named.clone(),
        };
        let taping = RunningRecording { recorder: self.clone(), head, question: Mutex::new(question) };
        let tape = Arc::new(Tape::new(false, seed, self.secrets.clone(), Some(taping)));
        context.tape = Some(tape.clone());
        Some(tape)
    }
}

/// A call that is being recorded.
pub struct RunningRecording {
    recorder: Arc<Recorder>,
    head: Head,
    question: Mutex<Question>,
}

impl Tape {
    /// Sets the body of the request, which is known only now.
    pub fn request_body(&self, text: String) {
        if let Some(taping) = &self.taping
            && let Question::Request { body, .. } = &mut *taping.question.lock()
        {
            *body = text;
        }
    }
}

impl RunningRecording {
    /// Called when the call has ended.
    pub(super) fn end(
        self,
        seed: &str,
        imports: Vec<Entry>,
        reads: Reads,
        answer: Option<Answer>,
        fault: Option<String>,
        secrets: &Secrets,
    ) {
        let RunningRecording { recorder, head, question } = self;
        let question = question.into_inner();
        let Recorder { component, sink, variables, environment, .. } = &*recorder;
        let Some(answer) = answer else {
            tracing::debug!(%component, trace = %head.request, "a call is not recorded: it was cancelled");
            return;
        };
        let size = match &question {
            Question::Function { arguments, .. } => arguments.len(),
            Question::Request { body, .. } => body.len(),
        } + match &answer {
            Answer::Returned(text) | Answer::Failed(text) => text.len(),
            Answer::Response { body, .. } => body.len(),
        };
        let whole = format!("{question:?}{answer:?}");
        let fault = fault
            .or_else(|| secrets.are_in(&whole).then(|| "it holds the value of a secret variable".to_owned()))
            .or_else(|| {
                (size > MAX_RECORDING_BYTES).then(|| format!("it takes more than {MAX_RECORDING_BYTES} bytes"))
            });
        if let Some(why) = fault {
            let (trace, name) = (&head.request, question.name_for_log());
            tracing::warn!(%component, %trace, "a call of `{component}` ({name}) is not recorded: {why}");
            return;
        }
        let (variables, environment) = (variables.clone(), environment.clone());
        sink(Recording { head, question, answer, variables, environment, seed: seed.to_owned(), reads, imports });
    }
}
