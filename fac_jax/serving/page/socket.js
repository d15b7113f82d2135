// A WebSocket of JSON events, and what its end means.

/** Close codes after which another attempt makes sense. */
const RETRY = new Set([1001, 1005, 1006, 1011, 1012, 1013]);

const ENDS = {
  1000: "The server has ended the talk.",
  1001: "The server is going away.",
  1008: "The server has closed the talk: its rules were broken.",
  1009: "The server has closed the talk: a message was too big.",
  1011: "The server had a fault.",
  1012: "The server is restarting.",
  1013: "The server is too busy, or this connection is too slow.",
};

/**
 * Opens a socket beside this page. `told` has opened(), event(event), closed({code, retry, text}) and
 * log(dir, event); nothing of them is called any more after close().
 */
export function openSocket(path, key, told) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url, key ? ["realtime", `openai-insecure-api-key.${key}`] : []);
  let opened = false;
  socket.onopen = () => {
    opened = true;
    told.opened();
  };
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    told.log("server", event);
    told.event(event);
  };
  socket.onclose = ({ code, reason }) =>
    told.closed({ code, opened, retry: RETRY.has(code), text: ENDS[code] ?? (reason || "The connection was lost.") });
  return {
    send(event) {
      if (socket.readyState !== WebSocket.OPEN) return;
      told.log("client", event);
      socket.send(JSON.stringify(event));
    },
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}

/** Asks the server in plain HTTP, for instance why it refused a socket. Returns {status, body}; status 0: no answer. */
export async function ask(path, key) {
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const answer = await fetch(new URL(path, document.baseURI), { headers });
    return { status: answer.status, body: await answer.json().catch(() => null) };
  } catch {
    return { status: 0, body: null };
  }
}
