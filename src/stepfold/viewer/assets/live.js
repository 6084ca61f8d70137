// Explanations from a server: one request a model after each change, stale answers dropped.

export const WAIT = 150; // ms without a key before a request

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const REASONS = {
  401: "The server asks for its token; load the page again.",
  413: "The text is too long for the server.",
  429: "Too many requests: the server asks to wait a moment.",
  503: "The server is busy; it answers after the next change.",
};

async function reason(answer) {
  try {
    const body = await answer.json();
    const said = body.error ?? body.detail ?? body.message;
    if (typeof said === "string") return said;
  } catch {
    // no JSON: the status says what there is to say
  }
  return REASONS[answer.status] ?? `The server answers with status ${answer.status}.`;
}

export class Server {
  constructor(address) {
    // Without the name and password that the page's own address may hold: fetch refuses those.
    this.address = new URL(address, location.origin + location.pathname);
    this.running = new Map();
  }

  // The explanation of a text, null if a later request of the same model has taken its place.
  async explain(model, text, values) {
    this.running.get(model)?.abort();
    const abort = new AbortController();
    this.running.set(model, abort);
    const headers = { "Content-Type": "application/json" };
    try {
      const answer = await fetch(this.address, {
        method: "POST", headers, body: JSON.stringify({ text, model, values }), signal: abort.signal,
      });
      if (!answer.ok) throw new Refused(answer.status, await reason(answer));
      const explanation = await answer.json();
      return this.running.get(model) === abort ? explanation : null;
    } catch (error) {
      if (abort.signal.aborted) return null;
      throw error;
    }
  }
}
