// `POST <<base>>/` adds the request's body to a list, `GET <<base>>/` shows the list.

import { Connection } from "fermyon:spin/sqlite@2.0.0";

// The label in `sqlite_databases`.
const DATABASE = "<<component>>";
// The most characters of one line.
const MAX_LINE = 1000;

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const text = request.method === "POST" ? await request.text() : undefined;
  if (text === "" || text?.length > MAX_LINE) {
    return new Response(`send a text of 1 to ${MAX_LINE} characters\n`, { status: 400 });
  }
  try {
    const database = Connection.open(DATABASE);
    if (text) {
      database.execute("INSERT INTO lines (text) VALUES (?1)", [{ tag: "text", val: text }]);
      return new Response(null, { status: 201 });
    }
    const { rows } = database.execute("SELECT text FROM lines ORDER BY id LIMIT 100", []);
    return new Response(rows.map(({ values: [line] }) => `${line.val}\n`).join(""));
  } catch (error) {
    // An interface's error is thrown with its case in `payload`.
    if (!error.payload) throw error;
    console.error("the database does not answer:", JSON.stringify(error.payload));
    return new Response(null, { status: 503 });
  }
}
