// Questions to the server. The token comes behind # in the printed address, which no server ever sees, and is then sent
// as a header. TensorBoard's tab has none: there any value will do, because pages of other sites cannot set the header.

const KEY = "vae_lab_explore_token";

function readToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    sessionStorage.setItem(KEY, found);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) || "tab";
}

const token = readToken();

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

export function ask(question, body = {}) {
  return send(`api/${question}`, JSON.stringify(body), "application/json");
}

export function sendPicture(file, question, y, inverted) {
  const words = new URLSearchParams({ ...question, y: JSON.stringify(y), inverted: inverted ? "1" : "0" });
  return send(`api/picture?${words}`, file, file.type || "application/octet-stream");
}

async function send(path, body, type) {
  let response;
  try {
    response = await fetch(path, { method: "POST", body, headers: { "Content-Type": type, "X-Explore-Token": token } });
  } catch {
    throw new Refused(0, "the server does not answer; is the command still running?");
  }
  const found = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
  if (!response.ok) throw new Refused(response.status, found.error);
  return found;
}
