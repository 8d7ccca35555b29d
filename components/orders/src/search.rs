//! A search: orders by filters, sorted in one of four ways, with pages that begin after an order.
//!
//! A page begins after a given order, not at an offset. So every page costs the same, and orders that are created
//! meanwhile do not shift it. There is no total: to count the matches, the database would have to read all of them.
//!
//! This file builds the statement, because a fixed text for each combination of filters would mean hundreds of texts.
//! Every piece is a constant of this file; the caller's values are parameters.

use crate::bindings::orders::{Error, Filter, Found, Search, Sort};
use crate::{rows, sql, store, time};
use souk_database::{Database, Dialect, Value};

/// A statement that is being built, and its parameters.
struct Query {
    dialect: Dialect,
    /// Whether SQLite must use the index of the few orders with a refund due or with a dispute.
    few: bool,
    conditions: Vec<String>,
    parameters: Vec<Value>,
}

impl Query {
    /// Adds a parameter and returns its name.
    fn parameter(&mut self, value: impl Into<Value>) -> String {
        self.parameters.push(value.into());
        format!("{}{}", self.dialect.placeholder(), self.parameters.len())
    }

    /// Adds a parameter that is a time, and returns its name. The caller has checked the text.
    fn time(&mut self, value: &str) -> String {
        let name = self.parameter(value);
        match self.dialect {
            Dialect::Sqlite => name,
            Dialect::Postgres => format!("{name}::text::timestamptz"),
        }
    }

    /// A column as it is compared and sorted by. A `+` keeps SQLite from using its index: without statistics it would
    /// prefer this one to the index of the few, and read all paid orders to find those with a dispute.
    fn column(&self, name: &str) -> String {
        if self.few { format!("+{name}") } else { name.to_owned() }
    }

    /// Adds a condition about the total.
    fn total(&mut self, operator: &str, cents: u64) -> Result<(), Error> {
        let (column, name) = (self.column("total_cents"), self.parameter(rows::number(cents)?));
        self.conditions.push(format!("{column} {operator} {name}"));
        Ok(())
    }

    fn filter(&mut self, filter: &Filter) -> Result<(), Error> {
        if let Some(status) = filter.status {
            let (column, name) = (self.column("status"), self.parameter(rows::status_name(status)));
            self.conditions.push(format!("{column} = {name}"));
        }
        if let Some(customer) = &filter.customer {
            self.owner(customer);
        }
        for (comparison, time) in [("created_at >=", &filter.made_from), ("created_at <", &filter.made_before)] {
            if let Some(time) = time {
                let name = self.time(time);
                self.conditions.push(format!("{comparison} {name}"));
            }
        }
        filter.min_cents.map_or(Ok(()), |cents| self.total(">=", cents))?;
        filter.max_cents.map_or(Ok(()), |cents| self.total("<=", cents))?;
        if filter.refund_due {
            self.conditions.push("refund_due_cents > 0".to_owned());
        }
        if filter.disputed {
            self.conditions.push("dispute IS NOT NULL".to_owned());
        }
        Ok(())
    }

    fn owner(&mut self, owner: &str) {
        let name = self.parameter(owner);
        self.conditions.push(format!("owner = {name}"));
    }

    /// Continues after an order. Each value is a subquery of its own: PostgreSQL uses the index for a row of two
    /// values, but not for one subquery of two columns.
    fn after(&mut self, id: &str, column: &str, comparison: &str) {
        let name = self.parameter(id);
        self.conditions.push(format!(
            "({column}, seq) {comparison} \
             ((SELECT {column} FROM orders WHERE id = {name}), (SELECT seq FROM orders WHERE id = {name}))"
        ));
    }

    /// The whole statement.
    fn text(&mut self, column: &str, direction: &str, limit: u32) -> String {
        let limit = self.parameter(Value::Integer(limit.into()));
        let limit = match self.dialect {
            // As in `sql`: SQLite would plan for the value of a bare parameter.
            Dialect::Sqlite => format!("+{limit}"),
            Dialect::Postgres => limit,
        };
        let conditions = match self.conditions.as_slice() {
            [] => "true".to_owned(),
            conditions => conditions.join(" AND "),
        };
        format!(
            "SELECT {} FROM orders WHERE {conditions} ORDER BY {column} {direction}, seq {direction} LIMIT {limit}",
            sql::COLUMNS.text(self.dialect)
        )
    }
}

/// The matching orders that `seen_by` may see, without their lines.
///
/// # Errors
/// `invalid` for a limit out of bounds, a malformed time, and an `after` that `seen_by` may not see; those of the
/// database.
pub(crate) fn search(database: &Database, search: &Search, seen_by: Option<&str>) -> Result<Found, Error> {
    let limit = search.limit;
    if !(1..=store::MAX_PAGE).contains(&limit) {
        return Err(Error::Invalid(format!("limit must be from 1 to {}", store::MAX_PAGE)));
    }
    let Filter { made_from, made_before, customer, .. } = &search.filter;
    for (name, text) in [("made-from", made_from), ("made-before", made_before)] {
        if text.as_deref().is_some_and(|text| !time::is_timestamp(text)) {
            return Err(Error::Invalid(format!("{name} must be a time such as 2024-02-27T15:50:27.545Z")));
        }
    }
    if customer.as_deref().is_some_and(|customer| customer.contains('\0')) {
        // No customer has such an id, and PostgreSQL refuses the text.
        return Ok(Found { orders: Vec::new(), next: None });
    }
    if let Some(after) = &search.after {
        match store::find(database, after, seen_by) {
            Err(Error::NotFound) => return Err(Error::Invalid("after must be the id of an order".into())),
            found => found?,
        };
    }
    let (text, parameters) = statement(database.dialect(), search, seen_by)?;
    let found = database.query(&*text, &parameters)?;
    let mut orders = found.map(|mut row| rows::order(&mut row)).collect::<Result<Vec<_>, _>>()?;
    let more = orders.len() > limit as usize;
    orders.truncate(limit as usize);
    let next = orders.last().filter(|_| more).map(|order| order.id.clone());
    Ok(Found { orders, next })
}

/// The statement of a checked search, and its parameters.
pub(crate) fn statement(
    dialect: Dialect,
    search: &Search,
    seen_by: Option<&str>,
) -> Result<(String, Vec<Value>), Error> {
    let few = matches!(dialect, Dialect::Sqlite) && (search.filter.refund_due || search.filter.disputed);
    let mut query = Query { dialect, few, conditions: Vec::new(), parameters: Vec::new() };
    query.filter(&search.filter)?;
    if let Some(owner) = seen_by {
        query.owner(owner);
    }
    let (direction, comparison) = match search.sort {
        Sort::Newest | Sort::Largest => ("DESC", "<"),
        Sort::Oldest | Sort::Smallest => ("ASC", ">"),
    };
    let column = match search.sort {
        // The indexes of the few are in this order.
        Sort::Newest | Sort::Oldest => "created_at".to_owned(),
        Sort::Largest | Sort::Smallest => query.column("total_cents"),
    };
    if let Some(after) = &search.after {
        query.after(after, &column, comparison);
    }
    // Read one order more, to know whether there is a next page.
    let text = query.text(&column, direction, search.limit.saturating_add(1));
    Ok((text, query.parameters))
}
