// A talk: one connection, the sound of both sides, and who is doing what. It knows nothing of how it is shown.

import { Emitter } from "./emitter.js";
import { feed, silence } from "./feed.js";
import { CONNECTION, PLAYER } from "./happenings.js";
import { Live } from "./live.js";
import { openMicrophone } from "./microphone.js";
import { Realtime, newItem } from "./realtime.js";
import { Recording } from "./recording.js";
import { Reply } from "./reply.js";
import { makeSound } from "./sound.js";

const LEAST = 0.2; // seconds that a button must be held to count as a turn

/**
 * It tells: state, user (a turn of the user changed), reply (one began), text, heard and cut (of a reply), step,
 * timing, vad, ended (the user's turn is over), first (text, audio or played of a reply), playback, log, note, fault.
 */
export class Talk extends Emitter {
  phase = "off"; // off, connecting, on, waiting
  number = 0; // of the talk
  openings = []; // who waits until it is on
  live = false;
  muted = false;
  held = false; // the button that talks, where turns are made by hand
  hearing = false; // the server hears the user speak
  awaiting = false; // a reply is due
  playing = null; // the reply that is heard
  recording = new Recording();
  turns = []; // of the user ({role, item, text, seconds}) and of the model (Reply), in order
  replies = new Map();
  settings = { instructions: "", voice: "", turns: "auto", silence: 500 };

  /** What is going on, in one word. */
  get state() {
    if (this.phase !== "on") return this.phase;
    if (this.held || this.stopAsking) return "hearing";
    if (this.live && this.microphone) return this.muted ? "muted" : "live";
    if (this.playing) return "speaking";
    if (this.hearing) return "hearing";
    if (!this.live && (this.awaiting || this.open.length)) return "thinking";
    if (!this.microphone) return "typing";
    if (this.muted) return "muted";
    return this.byHand ? "holding" : "listening";
  }

  get byHand() {
    return this.settings.turns === "hold" && !this.live;
  }

  /** Replies that are not over for the listener. */
  get open() {
    return [...this.replies.values()].filter((reply) => !reply.finished);
  }

  changed() {
    this.tell("state", this.state);
  }

  /**
   * Begins a talk; returns when it is on. `find` says with whom: {live, model, key, device}. Throws an Error for the user
   * where there is no microphone.
   */
  async start(find, withMicrophone) {
    const number = ++this.number; // it may be called off before everything is there
    this.phase = "connecting";
    this.changed();
    try {
      this.sound ??= await makeSound((event) => PLAYER[event.kind].call(this, event));
      const setup = await find();
      const microphone = withMicrophone ? await this.microphoneOf(setup.device) : null;
      if (number !== this.number) return microphone?.close();
      Object.assign(this, { setup, microphone, live: setup.live, muted: false, attempt: 0 });
    } catch (fault) {
      if (number === this.number) this.stop();
      throw fault;
    }
    this.sound.player.limit(this.live ? 1 : Infinity);
    if (this.recording.empty) this.recording = new Recording();
    this.connect();
    return this.whenOn();
  }

  /** Waits until the talk is on. */
  whenOn() {
    return new Promise((resolve) => this.openings.push(resolve));
  }

  /** Opens the microphone in a talk that has none. */
  async listen() {
    this.muted = false;
    this.microphone = await this.microphoneOf(this.setup.device);
    this.changed();
  }

  microphoneOf(device) {
    return openMicrophone(this.sound.context, device, (chunk, until) => this.captured(chunk, until));
  }

  connect(resume = null) {
    for (const turn of this.turns) turn.at = undefined; // a new connection has a new clock
    const { model, key } = this.setup;
    this.connection = new (this.live ? Live : Realtime)(model, key, this.settings);
    for (const [kind, handler] of Object.entries(CONNECTION)) this.connection.on(kind, handler.bind(this));
    this.connection.open(resume, this.history());
  }

  /** What was said, for a session that knows nothing of it. */
  history() {
    const texts = this.turns.map((turn) => ({
      role: turn.role ?? "assistant",
      text: turn.role ? turn.text : turn.text.slice(0, turn.heard),
    }));
    return texts.filter(({ text }) => text.trim());
  }

  /** Ends the talk; what was said stays. */
  stop() {
    this.number++;
    this.openings = [];
    clearTimeout(this.timer);
    this.stopAsking?.();
    this.stopSilence?.();
    this.microphone?.close();
    this.connection?.close();
    this.halt();
    this.microphone = this.connection = this.stopAsking = this.stopSilence = null;
    this.held = this.hearing = this.awaiting = false;
    this.phase = "off";
    this.changed();
  }

  /** Forgets what was said. */
  forget() {
    this.turns = [];
    this.replies.clear();
    this.recording = new Recording();
  }

  captured(chunk, until) {
    if (this.phase !== "on" || this.stopAsking || (this.byHand && !this.held)) return;
    this.send(this.muted ? silence() : chunk, "microphone", until);
  }

  send(samples, clock, until) {
    this.recording.said(samples, clock, until);
    this.connection.audio(samples);
  }

  feed(samples, until) {
    this.send(samples, "page", until);
  }

  mute(muted) {
    this.muted = muted;
    this.changed();
  }

  /** The button that talks goes down. */
  hold() {
    this.interrupt();
    this.connection.clear();
    this.held = performance.now();
    this.changed();
  }

  /** It goes up: the turn is over. */
  release() {
    const seconds = (performance.now() - this.held) / 1000;
    this.held = false;
    if (seconds >= LEAST) this.commit(seconds);
    else this.tell("note", "Hold the button, or space, for as long as you talk.");
    this.changed();
  }

  /** Ends the user's turn now, rather than when silence is heard. */
  commit(seconds = null) {
    this.stopAsking?.();
    this.stopAsking = null;
    this.seconds = seconds;
    this.connection.commit();
    this.due("held");
  }

  /** Stops the model: what is heard fades in 20 ms, and the rest is forgotten. */
  interrupt() {
    if (this.live || !(this.open.length || this.awaiting)) return;
    this.connection.cancel();
    this.halt();
  }

  halt() {
    if (!this.open.length) return;
    this.line("page.flush", {});
    for (const reply of this.open) {
      reply.stopped = true;
      if (reply.received) continue; // the player says how much of it was heard
      if (reply.item && reply.text) this.connection?.truncate(reply.id, reply.item, 0);
      this.over(reply);
    }
    this.sound?.player.flush();
  }

  /** Says something in writing. */
  write(text) {
    this.interrupt();
    const turn = { role: "user", item: newItem(), text, written: true };
    this.turns.push(turn);
    this.tell("user", turn);
    this.connection.write(turn.item, text);
    if (!this.live) this.due("written");
    this.changed();
  }

  /** Asks a question from a file (ArrayBuffer). */
  async question(file) {
    const buffer = await this.sound.read(file);
    this.interrupt();
    this.stopAsking?.();
    if (this.byHand) this.connection.clear();
    const over = () => {
      this.stopAsking = null;
      if (this.byHand) this.commit(buffer.duration);
      this.changed();
    };
    this.stopAsking = this.sound.say(buffer, this.byHand ? 0 : 1.5, (...chunk) => this.feed(...chunk), over);
    this.changed();
  }

  /** Takes new settings; the server gets them at once. */
  set(settings) {
    this.settings = settings;
    this.connection?.update(settings);
    this.changed();
  }

  due(how) {
    this.awaiting = true;
    this.tell("ended", { at: performance.now(), how, silence: this.settings.silence });
  }

  /** Returns the user's turn of an item; `at`, if known, is the millisecond of the talk where it began. */
  user(item, at) {
    let turn = this.turns.find((one) => one.item === item && one.role);
    if (!turn) this.turns.push((turn = { role: "user", item, text: "", at, began: performance.now() }));
    return turn;
  }

  over(reply) {
    reply.finished = true;
    if (reply.stopped) this.tell("cut", reply);
    this.tell("text", reply);
    this.changed();
  }

  line(type, fields) {
    this.tell("log", this.recording.line("page", { type, ...fields }));
  }
}
