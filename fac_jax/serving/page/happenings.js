// What a talk does when its connection or its player tells something; `this` is the talk.

import { feed, silence } from "./feed.js";
import { STREAM } from "./live.js";
import { RATE } from "./pcm.js";
import { Reply } from "./reply.js";
import { ask } from "./socket.js";

const PAUSES = [1, 2, 4, 8, 8]; // seconds before each attempt to come back

export const CONNECTION = {
  opened({ id }) {
    this.session = id;
    this.phase = "on";
    this.attempt = 0;
    if (this.live && !this.microphone)
      this.stopSilence = feed(silence, (...chunk) => this.microphone || this.stopAsking || this.feed(...chunk));
    for (const go of this.openings.splice(0)) go();
    this.changed();
  },
  async closed({ opened, retry, text }) {
    this.halt();
    this.hearing = this.awaiting = false;
    this.stopSilence?.();
    const why = opened ? { text, retry } : await refusal(this.setup.key);
    if (this.phase === "off") return;
    if (!why.retry || this.attempt >= PAUSES.length) {
      this.stop();
      this.tell("fault", why);
      return;
    }
    this.phase = "waiting";
    this.why = why.text;
    this.retryIn = PAUSES[this.attempt++];
    this.timer = setTimeout(() => this.connect(this.session), this.retryIn * 1000);
    this.changed();
  },
  session(session) {
    this.transcribes = session.audio?.input?.transcription !== null;
    this.tell("session", session);
  },
  log({ dir, event }) {
    this.tell("log", this.recording.line(dir, event));
  },
  hearing({ item, ms }) {
    this.hearing = true;
    this.halt();
    const turn = this.user(item);
    turn.since = ms;
    this.tell("user", turn);
    this.changed();
  },
  silence({ item, ms }) {
    this.hearing = false;
    const turn = this.user(item);
    turn.seconds = (ms - turn.since) / 1000;
    this.tell("user", turn);
    this.due("spoken");
    this.changed();
  },
  spoken({ item }) {
    this.hearing = false;
    const turn = this.user(item);
    turn.seconds ??= this.seconds ?? (performance.now() - turn.began) / 1000;
    this.tell("user", turn);
    this.changed();
  },
  userText({ item, delta, text, at }) {
    const turn = this.user(item, at);
    turn.text = text ?? turn.text + delta;
    this.tell("user", turn);
  },
  began({ reply: id }) {
    const reply = new Reply(id);
    this.awaiting = false;
    if (this.live) for (const before of this.open) before.finished = true;
    this.replies.set(id, reply);
    this.turns.push(reply);
    this.tell("reply", reply);
    this.changed();
  },
  item({ reply: id, item }) {
    this.replies.get(id).item = item;
  },
  text({ reply: id, delta, sample }) {
    const reply = this.replies.get(id);
    if (sample !== undefined && !reply.spans.length) Object.assign(reply, { begin: sample, at: (sample * 1000) / RATE });
    reply.text += delta;
    if (sample !== undefined) reply.spans.push([reply.text.length, sample]);
    this.tell("first", { reply, what: "text" });
    this.tell("text", reply);
  },
  audio({ reply: id, samples }) {
    const reply = this.replies.get(id);
    if (reply?.stopped) return;
    if (reply) {
      reply.received += samples.length;
      this.tell("first", { reply, what: "audio" });
    }
    this.sound.player.push(id, samples);
  },
  audioDone({ reply: id }) {
    const reply = this.replies.get(id);
    reply.audioDone = true;
    if (reply.received) this.sound.player.end(id);
  },
  call({ name, given }) {
    this.tell("note", `The model calls ${name}(${given}).`);
  },
  done({ reply: id, status, reason, error }) {
    const reply = this.replies.get(id);
    reply.done = true;
    reply.status = status;
    if (status === "cancelled" && !reply.stopped) this.halt();
    if (!reply.received && !reply.finished) this.over(reply);
    if (error?.code === "server_full") this.tell("note", "All places are taken. Ask again in a moment.");
    else if (status === "failed") this.tell("note", `The reply failed: ${error?.message ?? "no reason was given"}`);
    else if (reason === "max_output_tokens") this.tell("note", "The reply has reached its longest length.");
    this.changed();
  },
  step({ reply: id, ...step }) {
    const reply = this.replies.get(id);
    reply?.step(step.text);
    if (reply && step.units.length) this.tell("first", { reply, what: "units" });
    this.tell("step", { reply: id, ...step });
  },
  timing({ reply: id, ...timing }) {
    this.tell("timing", { reply: this.replies.get(id), timing });
  },
  vad(event) {
    this.tell("vad", event);
  },
  problem({ code, message }) {
    if (code !== "input_audio_buffer_commit_empty") this.tell("note", message);
    if (code === "session_expired") this.stop();
  },
};

export const PLAYER = {
  started({ reply: id }) {
    this.playing = this.replies.get(id) ?? null;
    if (this.playing) this.tell("first", { reply: this.playing, what: "played" });
    this.changed();
  },
  heard({ samples, until, ...at }) {
    this.recording.played(samples, until);
    this.tell("playback", at);
    for (const reply of at.reply === STREAM ? this.open : [this.replies.get(at.reply)]) {
      if (!reply) continue;
      reply.played = Math.max(0, at.played - reply.begin);
      this.tell("heard", reply);
    }
  },
  drained({ reply: id, played, cut }) {
    const reply = this.replies.get(id);
    if (this.playing === reply) this.playing = null;
    if (reply) {
      reply.played = played;
      if (cut) {
        this.line("page.flushed", { response_id: id, audio_end_ms: reply.playedMs });
        if (reply.item) this.connection?.truncate(id, reply.item, reply.playedMs);
      } else reply.learn();
      this.over(reply);
    }
    this.changed();
  },
};

// Why the server refused a socket: browsers do not tell, but its answer to a plain request does.
async function refusal(key) {
  const { status, body } = await ask("v1/models", key);
  if (status === 401) return { text: "This server asks for a key.", key: true, retry: false };
  if (status === 0) return { text: "The server does not answer.", retry: true };
  if (status === 429 || status === 503 || (status === 200 && (await ask("ready", key)).status === 503))
    return { text: "All places are taken.", retry: true };
  if (status === 200) return { text: "The server refused the talk.", retry: true };
  return { text: body?.error?.message ?? `The server answered ${status}.`, retry: false };
}
