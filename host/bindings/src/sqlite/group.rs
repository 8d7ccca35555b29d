//! Statements that wait for the writer at the same time share a transaction (group commit): what they cost is then
//! mostly one commit, with one wait for the disk, and pages that several of them change are written once.
//!
//! Only a single `INSERT`, `UPDATE` or `DELETE` outside a transaction takes part. One of those that wait leads: it waits
//! for the writer, runs its own statement and then those of the others, in turns of their components, and commits. Then
//! the next one leads. SQLite undoes a statement that fails by itself, and the others stay. Whatever ends the whole
//! transaction (a full disk, memory, `OR ROLLBACK`, a deferred constraint, a statement that takes long) ends the group:
//! it is rolled back, and each of its statements runs alone, in its turn, as if there were no groups. Nobody gets an
//! answer before the commit.

use super::Error;
use super::database::{Database, WHOLE, Writer};
use super::engine::{Collected, Engine};
use super::error::{Stop, internal, to_guest_busy};
use super::share::Share;
use super::waiting::{Lead, Leader, Member, Reply, Statement, Wait, Written};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of group commits.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// The most statements of one group.
    const MAX_GROUP: usize = 64, "statements";
    /// When a group takes no more statements: each waits for the last one.
    const GROUP_TIME: Duration = Duration::from_millis(2);
    /// When a statement of a group is interrupted: it runs alone, because the others wait for it.
    const MAX_GROUP_TIME: Duration = Duration::from_millis(5);
    /// When a group takes no more statements: the host keeps their rows until the commit.
    const GROUP_RESULT_BYTES: usize = 1 << 20, bytes;
}

/// How [`Database::change`] ended.
pub(super) enum Change {
    /// The statement has run in a group.
    Done(Written),
    /// The caller runs it on this writer, and keeps the leader until then.
    Alone(Writer, Statement, Leader),
}

impl Database {
    /// Runs a statement outside a transaction, in a group if others wait. If the caller goes away, the statement is not
    /// begun, or it runs to its end.
    pub(super) async fn change(self: &Arc<Self>, share: &Share, statement: Statement) -> Result<Change, Error> {
        let owner = share.owner();
        let lead = match self.enter(owner, statement) {
            Ok(lead) => lead,
            Err(wait) => match self.answer(wait).await? {
                Reply::Done(result) => return result.map(Change::Done),
                Reply::Lead(lead) => lead,
            },
        };
        let Lead { statement, alone, leader } = lead;
        let writer = self.writer(owner).await?;
        if alone || self.waiting.0.lock().members.is_empty() {
            return Ok(Change::Alone(writer, statement, leader));
        }
        let _share = share.statement(self.label()).await?;
        let database = self.clone();
        let task = tokio::task::spawn_blocking(move || match together(&writer, &database, statement) {
            Ok(result) => {
                drop((writer, leader));
                result.map(Change::Done)
            }
            Err(statement) => Ok(Change::Alone(writer, statement, leader)),
        });
        task.await.map_err(|e| internal(self.label(), "a statement ended early", e))?
    }

    /// Makes the caller the leader, or lets it wait.
    fn enter(self: &Arc<Self>, owner: usize, statement: Statement) -> Result<Lead, Wait> {
        let mut state = self.waiting.0.lock();
        if !state.led {
            state.led = true;
            return Ok(Lead { statement, alone: false, leader: Leader::of(&self.waiting) });
        }
        let (caller, reply) = oneshot::channel();
        let statement = Arc::new(Mutex::new(Some(statement)));
        state.members.push(owner, Member { owner, statement: statement.clone(), alone: false, caller }, false);
        Err(Wait { statement, reply })
    }

    /// Waits for the answer; with an error only if the statement was not begun.
    async fn answer(&self, mut wait: Wait) -> Result<Reply, Error> {
        let ended_early = |e| internal(self.label(), "a statement ended early", e);
        if let Ok(reply) = tokio::time::timeout(super::BUSY_TIMEOUT, &mut wait.reply).await {
            return reply.map_err(ended_early);
        }
        if wait.statement.lock().take().is_some() {
            return Err(to_guest_busy(self.label()));
        }
        (&mut wait.reply).await.map_err(ended_early)
    }
}

/// Runs `first` and what waits in one transaction, and answers the others. If the group fails, it returns `first`, and
/// the others wait again. For the writer's blocking thread.
fn together(writer: &Writer, database: &Database, first: Statement) -> Result<Result<Written, Error>, Statement> {
    let Ok(engine) = writer.engine() else { return Err(first) };
    let _run = engine.begin();
    // The error of a log that is full is for each statement that runs alone.
    if database.keep_wal_small(engine).is_err() {
        return Err(first);
    }
    let mut others = Vec::<(Member, Statement)>::new();
    let mut results = Vec::new();
    let group = engine.blocking(|engine| run_group(engine, database, &first, &mut others, &mut results));
    // Each statement was a run of its own, and has ended it.
    let _run = engine.begin();
    engine.remove_time_limit();
    let mut results = results.into_iter();
    if group.is_err() {
        for (member, statement) in others {
            database.waiting.put_back(Member { alone: true, ..member }, statement);
        }
        if engine.in_transaction()
            && let Err(e) = engine.roll_back()
        {
            return Ok(Err(internal(database.label(), "a transaction was not rolled back", e)));
        }
        return Err(first);
    }
    let result = results.next().ok_or(first)?;
    for ((member, _), result) in others.into_iter().zip(results) {
        // Its caller may have gone.
        let _ = member.caller.send(Reply::Done(result));
    }
    if let Some(bytes) = database.bytes_in_use(engine) {
        database.note_size(bytes);
    }
    let _ = database.keep_wal_small(engine);
    Ok(result)
}

fn run_group(
    engine: &Engine,
    database: &Database,
    first: &Statement,
    others: &mut Vec<(Member, Statement)>,
    results: &mut Vec<Result<Written, Error>>,
) -> Result<(), Stop> {
    let begun = Instant::now();
    let mut bytes = 0_usize;
    engine.begin_group(MAX_GROUP_TIME)?;
    let mut result = run_one(engine, first)?;
    loop {
        bytes = bytes.saturating_add(result.as_ref().map_or(0, |written| written.collected.bytes));
        results.push(result);
        if results.len() >= MAX_GROUP || bytes >= GROUP_RESULT_BYTES || begun.elapsed() >= GROUP_TIME {
            break;
        }
        let Some((member, statement)) = database.waiting.0.lock().pop() else { break };
        if member.alone {
            database.waiting.put_back(member, statement);
            break;
        }
        others.push((member, statement));
        let Some((_, statement)) = others.last() else { break };
        result = run_one(engine, statement)?;
    }
    engine.commit_group()
}

/// Runs one statement of a group: `Err` if the group must end.
fn run_one(engine: &Engine, statement: &Statement) -> Result<Result<Written, Error>, Stop> {
    let run = engine.begin();
    let outcome = engine.collect(&statement.sql, &statement.params, false, WHOLE);
    drop(run);
    if !engine.in_transaction() || engine.may_have_rolled_back() {
        return Err(Stop::Unknown);
    }
    let written = |collected: Collected| Written {
        collected,
        bytes_in_use: None,
        inserted: engine.inserted_rowid(),
        changes: engine.changes(),
    };
    match outcome {
        Ok(collected) => Ok(Ok(written(collected))),
        Err(Stop::Failed(error)) => Ok(Err(error)),
        Err(stop) => Err(stop),
    }
}
