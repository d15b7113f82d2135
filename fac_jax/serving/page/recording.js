// The talk so far: both sides on one time axis, and every event. It stays in the page until it is downloaded.

import { RATE, stereoWav } from "./pcm.js";

const LOST = 1000; // milliseconds by which a clock that was stopped falls behind

/**
 * One side of the talk. Its sound comes with times of its own clock, and with delays; the least delay that was seen ties
 * that clock to the page's.
 */
class Track {
  constructor() {
    this.pieces = []; // {clock, until, samples}; clock.lag is what brings `until` to milliseconds of the talk
    this.clocks = {};
  }

  add(samples, name, until, now) {
    const lag = now - until;
    const known = this.clocks[name];
    if (!known || lag > known.lag + LOST) this.clocks[name] = { lag };
    const clock = this.clocks[name];
    clock.lag = Math.min(clock.lag, lag);
    this.pieces.push({ clock, until, samples });
  }

  end({ clock, until }) {
    return Math.max(0, Math.round(((until + clock.lag) * RATE) / 1000));
  }

  get length() {
    return this.pieces.reduce((length, piece) => Math.max(length, this.end(piece)), 0);
  }

  /** Returns everything (Int16Array) in a row of so many samples. */
  joined(length) {
    const all = new Int16Array(length);
    for (const piece of this.pieces) {
      const at = this.end(piece) - piece.samples.length;
      all.set(piece.samples.subarray(Math.max(0, -at)), Math.max(0, at));
    }
    return all;
  }
}

export class Recording {
  constructor() {
    this.began = performance.now();
    this.date = new Date();
    this.user = new Track();
    this.model = new Track();
    this.lines = [];
  }

  /** Milliseconds since the beginning. */
  get now() {
    return performance.now() - this.began;
  }

  get empty() {
    return this.lines.length === 0;
  }

  /** Adds what was said (Int16Array) up to a millisecond of a clock. */
  said(samples, clock, until) {
    this.user.add(samples, clock, until, this.now);
  }

  /** Adds what was played (Int16Array) up to a millisecond of the player's clock. */
  played(samples, until) {
    this.model.add(samples, "player", until, this.now);
  }

  /** Adds an event: `dir` is client, server or page. Audio is replaced by its length. */
  line(dir, event) {
    const line = { t_ms: Math.round(this.now), dir, event: { ...event } };
    for (const field of ["audio", "delta"]) {
      const audio = field === "audio" ? /append$/.test(event.type) : /output_audio\.delta$/.test(event.type);
      if (audio && typeof event[field] === "string") {
        const bytes = (event[field].length * 3) / 4 - (event[field].match(/=*$/)?.[0].length ?? 0);
        line.event[field] = `<${bytes} bytes>`;
      }
    }
    this.lines.push(line);
    return line;
  }

  /** The talk as a WAV file: the user on the left, the model on the right. */
  wav() {
    const length = Math.max(this.user.length, this.model.length);
    return stereoWav(this.user.joined(length), this.model.joined(length));
  }

  /** The events, one JSON object a line. */
  jsonl() {
    return new Blob(this.lines.map((line) => JSON.stringify(line) + "\n"), { type: "application/jsonl" });
  }

  get name() {
    return `talk-${this.date.toISOString().slice(0, 19).replace(/[T:]/g, "-")}`;
  }
}

/** Lets the browser save a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
