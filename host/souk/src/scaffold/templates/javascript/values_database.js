// Exports the contract <<contract>>, and keeps its values in a database.

import { Connection } from "fermyon:spin/sqlite@2.0.0";

// The label in `sqlite_databases`.
const DATABASE = "<<component>>";
// Closes a handle now, and not when the engine finds that it is no longer used.
const CLOSE = Symbol.dispose ?? Symbol.for("dispose");
const GET = "SELECT value FROM entries WHERE key = ?1";
const SET =
  "INSERT INTO entries (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

const values = {
  get(key) {
    return query(GET, key)[0]?.values[0].val;
  },

  set(key, value) {
    query(SET, key, value);
  },
};

/** The rows that a statement answers with. */
function query(statement, ...texts) {
  try {
    const database = Connection.open(DATABASE);
    try {
      return database.execute(statement, texts.map((val) => ({ tag: "text", val }))).rows;
    } finally {
      database[CLOSE]();
    }
  } catch (error) {
    // An interface's error is thrown with its case in `payload`.
    if (!error.payload) throw error;
    console.error("the database does not answer:", JSON.stringify(error.payload));
    // A contract's error is thrown as the case that it is.
    throw { tag: "unavailable", val: "the values cannot be read now" };
  }
}

export { values as "<<contract>>" };
