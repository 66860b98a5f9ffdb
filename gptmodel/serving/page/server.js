// The routes of the server, and what went wrong in words. A request ends when its AbortSignal says so.

/** What went wrong, in words for the user. */
export class Problem extends Error {}

const GONE = "The server does not answer. Is gptmodel serve still running? Start it again, then try once more.";
const CUT_OFF = "The server ended before the text was complete. Is gptmodel serve still running?";

/** Answer of a route; a Problem where the server refuses or is gone. */
async function ask(route, body, signal) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  };
  const response = await fetch(route, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(GONE);
  });
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  throw new Problem(answer?.error?.message ?? `the server answered ${response.status} ${response.statusText}`);
}

/** JSON of an answer that comes whole. */
export async function askWhole(route, body, signal) {
  const response = await ask(route, body, signal);
  return response.json().catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(CUT_OFF);
  });
}

/** Objects of a stream of server-sent events, as they come. */
export async function* askStream(route, body, signal) {
  const response = await ask(route, { ...body, stream: true }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Problem(CUT_OFF);
    });
    if (done) throw new Problem(CUT_OFF);
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const object = JSON.parse(data);
      if (object.error) throw new Problem(object.error.message);
      yield object;
    }
  }
}
