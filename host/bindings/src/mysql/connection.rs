//! One connection of a guest to one server.

use super::address::Address;
use super::relay::{Meter, Relay};
use super::value::{self, arguments};
use super::{CLOSE_TIMEOUT, Column, Error, MAX_RESULT_BYTES, MAX_STATEMENT_BYTES, ParameterValue, Row};
use crate::outbound::DialPermit;
use futures::StreamExt as _;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _,
};
use sqlx_mysql::MySqlConnection;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// A guest's connection. Its statements run one at a time, in order.
pub struct Connection {
    /// `None` once a statement was cancelled, or the connection has died.
    session: Mutex<Option<MySqlConnection>>,
    /// Counts what the server sends.
    meter: Meter,
    /// While this exists, the instance counts as one that may have a transaction open.
    _database: Arc<()>,
    _permit: DialPermit,
}

/// The result of a statement.
pub(super) struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// The bytes that the rows take.
    pub bytes: usize,
}

impl Connection {
    /// Connects to `address` and logs in.
    ///
    /// # Errors
    /// The reason, without a password.
    pub(super) async fn open(address: &Address, permit: DialPermit, database: Arc<()>) -> Result<Self, Error> {
        let server = address.url.server();
        let dialed = permit.dial(&server, |ip| {
            // The name is only for the certificate, if that must contain it.
            let options = address.options.clone();
            let options = if address.is_named { options } else { options.host(&ip.to_string()) };
            let port = address.url.port;
            async move {
                let relay = Relay::open(ip, port).await?;
                let session = options.socket(relay.socket()).connect().await?;
                Ok::<_, sqlx::Error>((session, relay.meter()))
            }
        });
        let (session, meter) = dialed.await.map_err(Error::ConnectionFailed)?;
        Ok(Connection { session: Mutex::new(Some(session)), meter, _database: database, _permit: permit })
    }

    /// Runs one statement, and returns its rows.
    ///
    /// # Errors
    /// When MySQL refuses the statement, when a value cannot be converted, and when the result is larger than
    /// [`MAX_RESULT_BYTES`].
    pub(super) async fn query(&self, sql: String, params: Vec<ParameterValue>) -> Result<Rows, Error> {
        if sql.len() > MAX_STATEMENT_BYTES {
            return Err(Error::QueryFailed(format!("the statement is longer than {MAX_STATEMENT_BYTES} bytes")));
        }
        let arguments = arguments(&params).map_err(Error::BadParameter)?;
        let mut session = self.session.lock().await;
        // The connection counts as lost until the statement has ended, because dropping this future loses it.
        let Some(mut connection) = session.take() else {
            let lost = "the connection was lost with an earlier statement: open another";
            return Err(Error::ConnectionFailed(lost.to_owned()));
        };
        let ran = run(&mut connection, &self.meter, sql, arguments).await;
        let ran = match ran {
            Err(_) if self.meter.is_exceeded() => {
                Err(Failure { error: Error::QueryFailed(Meter::too_large()), lives: false })
            }
            ran => ran,
        };
        match ran {
            Ok(rows) => {
                *session = Some(connection);
                Ok(rows)
            }
            Err(Failure { error, lives }) => {
                if lives {
                    *session = Some(connection);
                }
                Err(error)
            }
        }
    }
}

impl Drop for Connection {
    /// Tells the server, which otherwise logs an aborted connection.
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) = (self.session.get_mut().take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move { timeout(CLOSE_TIMEOUT, session.close()).await });
    }
}

/// Why a statement failed, and whether its connection is still usable.
struct Failure {
    error: Error,
    lives: bool,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Failure { error: Error::QueryFailed(error.to_string()), lives: true },
            error => Failure { error: Error::ConnectionFailed(error.to_string()), lives: false },
        }
    }
}

async fn run(
    session: &mut MySqlConnection,
    meter: &Meter,
    sql: String,
    arguments: sqlx_mysql::MySqlArguments,
) -> Result<Rows, Failure> {
    meter.allow_row();
    let statement = session.prepare_with(AssertSqlSafe(sql).into_sql_str(), &[]).await?;
    let wanted = match statement.parameters() {
        Some(Either::Right(count)) => count,
        Some(Either::Left(types)) => types.len(),
        None => 0,
    };
    let given = sqlx::Arguments::len(&arguments);
    if wanted != given {
        let error = Error::BadParameter(format!("the statement has {wanted} parameters, and {given} were given"));
        return Err(Failure { error, lives: true });
    }
    // These are for a result without rows. sqlx caches them with the prepared statement, and the table may have changed
    // since; a row has its current columns.
    let mut columns: Vec<Column> = statement.columns().iter().map(value::column).collect();
    let (mut rows, mut weight, mut misfit) = (Vec::new(), 0, None);
    let mut is_first = true;
    let mut results = session.fetch_many(statement.query_with(arguments));
    while let Some(result) = results.next().await {
        // Many rows arrive at once, so this lets other tasks of the thread run.
        tokio::task::coop::consume_budget().await;
        meter.allow_row();
        let Either::Right(row) = result? else { continue };
        if is_first {
            columns = row.columns().iter().map(value::column).collect();
            is_first = false;
        }
        // An error of a value is only returned after all rows were read, so that the connection stays usable.
        match value::read_row(&row, &columns) {
            _ if misfit.is_some() => {}
            Ok((row, more)) => {
                weight += more;
                rows.push(row);
            }
            Err(why) => misfit = Some(why),
        }
        if weight > MAX_RESULT_BYTES {
            rows = Vec::new();
            weight = 0;
            let most = MAX_RESULT_BYTES >> 20;
            misfit = Some(format!("the result is larger than {most} MiB; read it in pages, with LIMIT"));
        }
    }
    match misfit {
        Some(why) => Err(Failure { error: Error::ValueConversionFailed(why), lives: true }),
        None => Ok(Rows { columns, rows, bytes: weight }),
    }
}
