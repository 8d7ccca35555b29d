//! A proxy in front of PostgreSQL that cuts connections at the worst moment: when a new row is committed, by `COMMIT`
//! or by an `INSERT` outside a transaction.
//!
//! It understands only the necessary part of the protocol: where messages begin, which statement is executed, whether
//! sent as text (Query) or prepared (Parse, Bind, Execute), and whether a transaction is open (ReadyForQuery).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The commit never reaches the server.
    Before,
    /// The server commits, and its answer never reaches the client.
    After,
}

/// The codes of first messages that only ask whether the server supports encryption (SSLRequest, GSSENCRequest). The
/// server answers with one letter.
const ASKS_FOR_ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// The proxy; it stops when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    plan: Arc<Mutex<VecDeque<Cut>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for the server at this port.
    pub(crate) async fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::default();
        let task = tokio::spawn({
            let plan = Arc::clone(&plan);
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let plan = Arc::clone(&plan);
                    // An error only means that one side ended the connection.
                    tokio::spawn(async move { drop(serve(client, server, &plan).await) });
                }
            }
        });
        Proxy { port, plan, task }
    }

    /// The port of 127.0.0.1 that the proxy listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Plans a cut for each of the next commits; later commits pass.
    pub(crate) fn cut(&self, plan: impl IntoIterator<Item = Cut>) {
        *self.plan.lock().unwrap() = plan.into_iter().collect();
    }

    /// How many of the planned cuts have not been made yet.
    pub(crate) fn left(&self) -> usize {
        self.plan.lock().unwrap().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection to its end. When this returns both sides are closed.
async fn serve(client: TcpStream, server: u16, plan: &Mutex<VecDeque<Cut>>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    loop {
        let first = message(&mut from_client, 0).await?;
        to_server.write_all(&first).await?;
        let code = first.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        if !code.is_some_and(|code| ASKS_FOR_ENCRYPTION.contains(&code)) {
            break;
        }
        let answer = from_server.read_u8().await?;
        assert_eq!(answer, b'N', "the proxy cannot read an encrypted connection");
        to_client.write_u8(answer).await?;
    }
    let session = Session::default();
    tokio::select! {
        end = requests(&mut from_client, &mut to_server, plan, &session) => end,
        end = answers(&mut from_server, &mut to_client, &session) => end,
    }
}

/// The state that the two directions of a connection share.
#[derive(Default)]
struct Session {
    /// The proxy withholds the server's answers from the client, and ends the connection when the server has answered.
    withheld: AtomicBool,
    /// A transaction is open.
    inside: AtomicBool,
}

/// Forwards the client's messages until a commit that the plan cuts.
async fn requests(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    plan: &Mutex<VecDeque<Cut>>,
    session: &Session,
) -> io::Result<()> {
    let mut statements = HashMap::new();
    let mut portals = HashMap::new();
    loop {
        let message = message(from, 1).await?;
        let mut texts = message[5..].split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let mut text = || texts.next().unwrap_or_default();
        let executed = match message[0] {
            b'Q' => Some(text()),
            b'P' => {
                statements.insert(text(), text());
                None
            }
            b'B' => {
                portals.insert(text(), statements.get(&text()).cloned().unwrap_or_default());
                None
            }
            b'E' => portals.get(&text()).cloned(),
            _ => None,
        };
        if executed.is_some_and(|sql| commits(&sql, session.inside.load(Ordering::SeqCst))) {
            let cut = plan.lock().unwrap().pop_front();
            match cut {
                Some(Cut::Before) => return Ok(()),
                Some(Cut::After) => session.withheld.store(true, Ordering::SeqCst),
                None => {}
            }
        }
        to.write_all(&message).await?;
    }
}

/// Forwards the server's messages, but withholds the answer to a commit that the plan cuts. It then ends the connection
/// once the server is ready for the next statement: only then is a statement outside a transaction committed.
async fn answers(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, session: &Session) -> io::Result<()> {
    loop {
        let message = message(from, 1).await?;
        let (ready, withheld) = (message[0] == b'Z', session.withheld.load(Ordering::SeqCst));
        if ready {
            session.inside.store(message[5] != b'I', Ordering::SeqCst);
        }
        match (withheld, ready) {
            (true, true) => return Ok(()),
            (true, false) => {}
            (false, _) => to.write_all(&message).await?,
        }
    }
}

/// Whether a statement commits a new row: `COMMIT` inside a transaction, or an `INSERT` outside of one.
fn commits(sql: &[u8], inside: bool) -> bool {
    let text = String::from_utf8_lossy(sql);
    let text = text.trim().trim_end_matches(';').trim();
    if inside { text.eq_ignore_ascii_case("commit") } else { text.contains("INSERT INTO ") }
}

/// Reads one message: a type of `kind` bytes, a length that includes itself, and the content.
async fn message(from: &mut OwnedReadHalf, kind: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; kind + 4];
    from.read_exact(&mut message).await?;
    let length = u32::from_be_bytes(message[kind..].try_into().unwrap()) as usize;
    message.resize(kind + length, 0);
    from.read_exact(&mut message[kind + 4..]).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::postgres::{Postgres, name_of};
    use sqlx::{Connection, Executor, PgConnection};

    #[tokio::test]
    async fn a_cut_is_made_where_it_was_planned_however_the_commit_is_sent() {
        let server = Postgres::shared();
        let url = server.database();
        server.psql(name_of(&url), "CREATE TABLE made (number INTEGER)");
        let proxy = Proxy::start(server.port()).await;
        let url = server.url_at(proxy.port(), name_of(&url));
        let mut expected = Vec::new();
        let cuts = [None, Some(Cut::Before), Some(Cut::After)].into_iter();
        let ways = cuts.flat_map(|cut| ["as text", "prepared", "by itself"].map(|way| (way, cut)));
        for (number, (way, cut)) in ways.enumerate() {
            proxy.cut(cut);
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let insert = sqlx::query("INSERT INTO made VALUES ($1)").bind(number as i32);
            let committed = if way == "by itself" {
                insert.execute(&mut connection).await
            } else {
                connection.execute("BEGIN").await.unwrap();
                insert.execute(&mut connection).await.unwrap();
                match way {
                    "prepared" => sqlx::query("COMMIT").execute(&mut connection).await,
                    _ => connection.execute("COMMIT").await,
                }
            };
            assert_eq!((committed.is_err(), proxy.left()), (cut.is_some(), 0), "{number}");
            if cut != Some(Cut::Before) {
                expected.push(number.to_string());
            }
        }
        assert_eq!(server.psql(name_of(&url), "SELECT number FROM made ORDER BY number"), expected.join("\n"));
    }
}
