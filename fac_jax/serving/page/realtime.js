// Half duplex: the GA events of /v1/realtime, with the extension fac.* for this page (docs/serving.md).

import { Emitter } from "./emitter.js";
import { fromBase64, toBase64 } from "./pcm.js";
import { openSocket } from "./socket.js";

/**
 * A connection of one talk. It tells: opened, closed, log, problem, hearing, silence, spoken, userText, began, item,
 * text, audio, audioDone, call, done, step, timing, vad.
 */
export class Realtime extends Emitter {
  constructor(model, key, settings) {
    super();
    this.model = model;
    this.key = key;
    this.settings = settings;
    this.active = null; // the response that the server is making
    this.spoke = false; // from then on the voice cannot change
    this.asked = false; // a response is to be asked for once that one is over
    this.cuts = new Map(); // response -> the truncate that is sent once it is over
  }

  /** Opens the socket; `resume` is the id of a session that was lost, `history` its turns [{role, text}]. */
  open(resume = null, history = []) {
    const query = new URLSearchParams({ model: this.model, events: "fac" });
    if (resume) query.set("session_id", resume);
    this.resume = resume;
    this.history = history;
    this.socket = openSocket(`v1/realtime?${query}`, this.key, {
      opened: () => {},
      event: (event) => HANDLERS[event.type]?.call(this, event),
      closed: (end) => this.tell("closed", end),
      log: (dir, event) => this.tell("log", { dir, event }),
    });
  }

  close() {
    this.socket.close();
  }

  audio(samples) {
    this.socket.send({ type: "input_audio_buffer.append", audio: toBase64(samples) });
  }

  /** Ends the user's turn by hand and asks for the reply. */
  commit() {
    this.socket.send({ type: "input_audio_buffer.commit" });
    this.respond();
  }

  /** Forgets what was said since the last turn. */
  clear() {
    this.socket.send({ type: "input_audio_buffer.clear" });
  }

  /** Says something in writing. */
  write(id, text) {
    this.socket.send(message(id, "user", text));
    this.respond();
  }

  respond() {
    this.asked = this.active !== null;
    if (!this.asked) this.socket.send({ type: "response.create" });
  }

  /** Stops the reply that the server is making, if there is one. */
  cancel() {
    if (this.active) this.socket.send({ type: "response.cancel", response_id: this.active });
  }

  /** Says how much of a reply was heard before it was interrupted. */
  truncate(reply, item, ms) {
    const event = { type: "conversation.item.truncate", item_id: item, content_index: 0, audio_end_ms: ms };
    if (this.active === reply) this.cuts.set(reply, event);
    else this.socket.send(event);
  }

  /** Takes new settings, for the replies to come. */
  update(settings) {
    this.settings = settings;
    const session = sessionOf(this.model, settings);
    if (settings.voice && !this.spoke) session.audio.output = { voice: settings.voice };
    this.socket.send({ type: "session.update", session });
  }
}

function message(id, role, text) {
  const content = [{ type: role === "assistant" ? "output_text" : "input_text", text }];
  return { type: "conversation.item.create", item: { id, type: "message", role, content } };
}

function sessionOf(model, { instructions, turns, silence }) {
  const turn = { type: "server_vad", silence_duration_ms: silence, create_response: true, interrupt_response: true };
  const input = { turn_detection: turns === "hold" ? null : turn, transcription: { model } };
  const session = { type: "realtime", audio: { input } };
  if (instructions) session.instructions = instructions;
  return session;
}

/** A fresh id for an item. */
export const newItem = () => `item_${crypto.getRandomValues(new Uint32Array(3)).join("")}`.slice(0, 32);

const HANDLERS = {
  "session.created"({ session }) {
    this.update(this.settings);
    if (session.id !== this.resume)
      for (const { role, text } of this.history) this.socket.send(message(newItem(), role, text));
    this.tell("opened", session);
  },
  "session.updated"({ session }) {
    this.tell("session", session);
  },
  "input_audio_buffer.speech_started"({ item_id, audio_start_ms }) {
    this.tell("hearing", { item: item_id, ms: audio_start_ms });
  },
  "input_audio_buffer.speech_stopped"({ item_id, audio_end_ms }) {
    this.tell("silence", { item: item_id, ms: audio_end_ms });
  },
  "input_audio_buffer.committed"({ item_id }) {
    this.tell("spoken", { item: item_id });
  },
  "conversation.item.input_audio_transcription.delta"({ item_id, delta }) {
    this.tell("userText", { item: item_id, delta });
  },
  "conversation.item.input_audio_transcription.completed"({ item_id, transcript }) {
    this.tell("userText", { item: item_id, text: transcript });
  },
  "response.created"({ response }) {
    this.active = response.id;
    this.tell("began", { reply: response.id });
  },
  "response.output_item.added"({ response_id, item }) {
    if (item.type === "message") this.tell("item", { reply: response_id, item: item.id });
  },
  "response.output_audio_transcript.delta"({ response_id, delta }) {
    this.tell("text", { reply: response_id, delta });
  },
  "response.output_text.delta"({ response_id, delta }) {
    this.tell("text", { reply: response_id, delta });
  },
  "response.output_audio.delta"({ response_id, delta }) {
    this.spoke = true;
    this.tell("audio", { reply: response_id, samples: fromBase64(delta) });
  },
  "response.output_audio.done"({ response_id }) {
    this.tell("audioDone", { reply: response_id });
  },
  "response.function_call_arguments.done"({ response_id, name, arguments: given }) {
    this.tell("call", { reply: response_id, name, given });
  },
  "response.done"({ response }) {
    const { id, status, status_details: details } = response;
    if (this.active === id) this.active = null;
    if (this.cuts.has(id)) this.socket.send(this.cuts.get(id));
    this.cuts.delete(id);
    this.tell("done", { reply: id, status, reason: details?.reason, error: details?.error });
    if (this.asked) this.respond();
  },
  "fac.step"({ response_id, ...step }) {
    this.tell("step", { reply: response_id, ...step });
  },
  "fac.timing"({ response_id, ...timing }) {
    this.tell("timing", { reply: response_id, ...timing });
  },
  "fac.vad"({ probability }) {
    this.tell("vad", { probability });
  },
  error({ error }) {
    if (error.code === "response_cancel_not_active") return; // it was over just before
    if (error.code === "conversation_already_has_active_response") this.asked = true; // one began just before
    else this.tell("problem", error);
  },
};
