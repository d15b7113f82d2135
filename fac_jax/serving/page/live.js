// Full duplex: the Live events of /v1/live/sessions. There are no turns; the clock is the audio that is sent.

import { Emitter } from "./emitter.js";
import { RATE, fromBase64, toBase64 } from "./pcm.js";
import { openSocket } from "./socket.js";

const PAUSE = 1500; // milliseconds without words after which a new paragraph begins
export const STREAM = "live"; // name of the one stream of audio

/** A connection of one talk, with the same methods as `Realtime`; what has no meaning here does nothing. */
export class Live extends Emitter {
  constructor(model, key, settings) {
    super();
    this.model = model;
    this.key = key;
    this.settings = settings;
    this.user = new Paragraphs("said");
    this.reply = new Paragraphs("live");
  }

  open(_, history = []) {
    this.history = history;
    this.socket = openSocket("v1/live/sessions?events=fac", this.key, {
      opened: () => this.start(),
      event: (event) => HANDLERS[event.type]?.call(this, event),
      closed: (end) => this.tell("closed", end),
      log: (dir, event) => this.tell("log", { dir, event }),
    });
  }

  start() {
    const { instructions, voice } = this.settings;
    const audio = { format: { type: "audio/pcm", rate: RATE }, output: voice ? { voice } : {} };
    const input = this.history.map(({ role, text }) => ({
      type: "message",
      role,
      content: [{ type: role === "assistant" ? "output_text" : "input_text", text }],
    }));
    const session = { model: this.model, audio, input, delegation: { type: "client" } };
    this.socket.send({ type: "session.start", session: instructions ? { ...session, instructions } : session });
  }

  close() {
    this.socket.send({ type: "session.close" });
    this.socket.close();
  }

  audio(samples) {
    this.socket.send({ type: "session.input_audio.append", audio: toBase64(samples) });
  }

  write(_, text) {
    this.socket.send({ type: "session.instructions.append", content: text, delegation_id: null });
  }

  cancel() {}

  commit() {}

  clear() {}

  truncate() {}

  update(settings) {
    this.settings = settings;
  }
}

/** Words of one side, put together to paragraphs. */
class Paragraphs {
  constructor(name) {
    this.name = name;
    this.number = 0;
    this.id = null;
    this.end = -Infinity;
  }

  /** Begins a paragraph; returns its id. */
  begin(id = `${this.name}-${++this.number}`) {
    this.end = Infinity;
    this.id = id;
    return id;
  }

  /** Returns whether words that start so late begin another paragraph. */
  over(start) {
    return this.id === null || start - this.end > PAUSE;
  }
}

const HANDLERS = {
  "session.started"({ session }) {
    this.tell("opened", session);
  },
  "session.output_audio.delta"({ delta }) {
    this.tell("audio", { reply: STREAM, samples: fromBase64(delta) });
  },
  "session.output_transcript.delta"({ delta, start_ms, end_ms }) {
    if (this.reply.over(start_ms)) this.tell("began", { reply: this.reply.begin() });
    this.reply.end = end_ms;
    this.tell("text", { reply: this.reply.id, delta, sample: (start_ms * RATE) / 1000 });
  },
  "session.input_transcript.delta"({ delta, start_ms, end_ms }) {
    if (this.user.over(start_ms)) this.user.begin();
    this.user.end = end_ms;
    this.tell("userText", { item: this.user.id, delta, at: start_ms });
  },
  "fac.step"({ response_id, ...step }) {
    if (this.reply.id !== response_id) this.tell("began", { reply: this.reply.begin(response_id) });
    this.tell("step", { reply: response_id, ...step });
  },
  "fac.vad"({ probability }) {
    this.tell("vad", { probability });
  },
  "session.closed"({ reason }) {
    const text = reason === "expired" ? "The time of this talk is over." : "The server has ended the talk.";
    this.tell("closed", { code: 1000, opened: true, retry: false, text });
    this.socket.close();
  },
  error({ error }) {
    this.tell("problem", error);
  },
};
