//! Names of products, available or not: `store:products/names`.
//!
//! Refuses while the catalogue has only the examples: they have the numbers of another system's products, and other names.

use crate::bindings::catalog::{Error, ProductId};
use crate::bindings::names::{Guest, Named};
use crate::import::{ONLY_EXAMPLES, has_only_examples};
use crate::{Catalog, id_list, sql};
use souk_database::Database;

impl Guest for Catalog {
    fn look_up(ids: Vec<ProductId>) -> Result<Vec<Named>, Error> {
        look_up(&Database::open()?, ids)
    }
}

pub(crate) fn look_up(database: &Database, mut ids: Vec<ProductId>) -> Result<Vec<Named>, Error> {
    // An id that does not fit the database's integer is no product's.
    ids.retain(|id| i64::try_from(*id).is_ok());
    ids.sort_unstable();
    ids.dedup();
    let list = id_list(&ids)?;
    if has_only_examples(database)? {
        return Err(Error::Invalid(ONLY_EXAMPLES.into()));
    }
    let rows = database.query(sql::NAMES, &[list])?;
    rows.map(|mut row| Ok(Named { id: row.integer()?, name: row.text()? })).collect()
}
