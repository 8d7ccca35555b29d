// Requests to the administration API. The session's cookie goes along; no token is known to a script.

export class SignedOut extends Error {}

export async function api(method, path, body) {
  const answer = await fetch(path, { method, body: body && JSON.stringify(body), credentials: "same-origin" });
  if (answer.status === 401) throw new SignedOut("signed out");
  const text = await answer.text();
  if (!answer.ok) {
    let message = `${answer.status}`;
    try {
      ({ message } = JSON.parse(text));
    } catch {
      // A proxy's own answer.
    }
    throw new Error(message);
  }
  return text ? JSON.parse(text) : null;
}

export const get = (path) => api("GET", path);
