// Takes what is delivered by <<contract>>, and keeps it in a database. The id is the primary key: what is delivered twice
// is kept once.

import { Connection } from "fermyon:spin/sqlite@2.0.0";

// The label in `sqlite_databases`.
const DATABASE = "<<component>>";
// Closes a handle now, and not when the engine finds that it is no longer used.
const CLOSE = Symbol.dispose ?? Symbol.for("dispose");
const KEEP = "INSERT INTO messages (id, text) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
const READ = "SELECT text FROM messages WHERE id = ?1";

const inbox = {
  deliver(id, text) {
    // A contract's error is thrown as the case that it is.
    if (text === "") throw { tag: "reject", val: "the text is empty" };
    query("retry", KEEP, id, text);
  },
};

const kept = {
  read(id) {
    return query("unavailable", READ, id)[0]?.values[0].val;
  },
};

/** The rows that a statement answers with; `tag` is the error of a database that does not answer. */
function query(tag, statement, ...texts) {
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
    throw { tag, val: "the database does not answer" };
  }
}

export { inbox as "<<contract>>", kept as "<<kept>>" };
