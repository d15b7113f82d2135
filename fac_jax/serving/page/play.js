// What the listener hears: a queue of samples with a cushion against late ones, which counts what was played.
// Runs as a worklet, or in the page's own thread where a browser has no worklets (http on another host).

const START = 0.12; // seconds in hand before a reply begins
const MORE = 0.04; // seconds that an underrun adds to that
const MOST = 0.4;
const FADE = 0.02; // seconds in which an interrupted reply fades
const REPORT = 0.04; // seconds between reports
const RISE = 0.0025; // seconds in which sound sets in, against clicks

/**
 * The queue. `tell` gets what happens:
 *   {kind: "started", reply}: its first sample is played;
 *   {kind: "heard", reply, played, buffered, cushion, underruns, samples, until}: 40 ms (Int16Array) have gone to the
 *     speaker, up to a millisecond of its clock;
 *   {kind: "drained", reply, played, cut}: its last sample has been played; `cut`: because of a flush.
 */
export class Playout {
  constructor(rate, tell) {
    this.rate = rate;
    this.tell = tell;
    this.parts = []; // {reply, samples, at}
    this.buffered = 0;
    this.ended = new Set(); // replies of which no more will come
    this.cut = new Set();
    this.cushion = START * rate;
    this.limit = Infinity;
    this.waiting = true;
    this.reply = null; // that is being played
    this.played = 0;
    this.underruns = 0;
    this.gain = 0;
    this.last = 0;
    this.block = new Int16Array(REPORT * rate);
    this.filled = 0;
    this.rendered = 0;
    this.audible = false;
  }

  /** Takes a message: samples of a reply, its end, a flush, or the most seconds that may wait. */
  take({ kind, reply, samples, seconds }) {
    if (kind === "samples") this.push(reply, samples);
    else if (kind === "end") this.end(reply);
    else if (kind === "flush") this.flush();
    else this.limit = seconds * this.rate;
  }

  push(reply, samples) {
    this.parts.push({ reply, samples, at: 0 });
    this.buffered += samples.length;
    if (this.buffered > this.limit) this.skip(this.buffered - this.cushion);
  }

  end(reply) {
    this.ended.add(reply);
    if (this.waiting && this.reply === reply && !this.parts.some((part) => part.reply === reply)) this.finish();
  }

  /** Drops the oldest samples: a live stream must not fall behind. They count as played, for they keep the time. */
  skip(count) {
    this.buffered -= count;
    this.played += count;
    while (count > 0) {
      const part = this.parts[0];
      const gone = Math.min(count, part.samples.length - part.at);
      part.at += gone;
      count -= gone;
      if (part.at === part.samples.length) this.parts.shift();
    }
  }

  /** Fades what is heard and forgets the rest. */
  flush() {
    const others = new Set(this.parts.map((part) => part.reply));
    others.delete(this.reply);
    const tail = this.waiting ? [] : this.fading();
    this.parts = tail.length ? [{ reply: this.reply, samples: tail, at: 0 }] : [];
    this.buffered = tail.length;
    for (const reply of others) this.tell({ kind: "drained", reply, played: 0, cut: true });
    if (this.reply === null) return;
    this.ended.add(this.reply);
    this.cut.add(this.reply);
    if (!tail.length) this.finish();
  }

  fading() {
    const length = Math.min(FADE * this.rate, this.buffered);
    const tail = new Float32Array(length);
    let filled = 0;
    for (const { reply, samples, at } of this.parts) {
      if (reply !== this.reply) break;
      for (let i = at; i < samples.length && filled < length; i++) tail[filled++] = samples[i] * (1 - filled / length);
    }
    return tail.subarray(0, filled);
  }

  finish() {
    const cut = this.cut.delete(this.reply);
    this.ended.delete(this.reply);
    this.tell({ kind: "drained", reply: this.reply, played: this.played, cut });
    this.reply = null;
    this.played = 0;
    this.waiting = true;
  }

  /** Fills a block (Float32Array) of what goes to the speaker. */
  render(out) {
    for (let i = 0; i < out.length; i++) {
      out[i] = this.last = this.next();
      this.audible ||= this.reply !== null || this.last !== 0;
      this.rendered++;
      this.block[this.filled++] = Math.max(-1, Math.min(1, this.last)) * 32767;
      if (this.filled === this.block.length) this.report();
    }
  }

  report() {
    if (this.audible) {
      const { reply, played, buffered, cushion, underruns } = this;
      const until = (this.rendered * 1000) / this.rate;
      this.tell({ kind: "heard", reply, played, buffered, cushion, underruns, samples: this.block.slice(), until });
    }
    this.filled = 0;
    this.audible = false;
  }

  next() {
    if (this.waiting) {
      if (!this.ready()) return this.dying();
      this.waiting = false;
      this.gain = 0;
    }
    const part = this.parts[0];
    if (!part) return this.starve();
    if (part.reply !== this.reply) {
      if (this.reply !== null) this.finish();
      this.waiting = false;
      this.reply = part.reply;
      this.tell({ kind: "started", reply: this.reply });
    }
    const sample = part.samples[part.at++];
    this.played++;
    this.buffered--;
    if (part.at === part.samples.length) this.parts.shift();
    this.gain = Math.min(1, this.gain + 1 / (RISE * this.rate));
    return sample * this.gain;
  }

  ready() {
    return this.parts.length > 0 && (this.buffered >= this.cushion || this.ended.has(this.parts[0].reply));
  }

  starve() {
    if (this.ended.has(this.reply)) this.finish();
    else {
      this.underruns++;
      this.cushion = Math.min(this.cushion + MORE * this.rate, MOST * this.rate);
      this.waiting = true;
    }
    return this.dying();
  }

  dying() {
    return Math.abs(this.last) < 1e-4 ? 0 : this.last * 0.9;
  }
}

if (globalThis.AudioWorkletProcessor) {
  class Play extends AudioWorkletProcessor {
    constructor() {
      super();
      this.playout = new Playout(sampleRate, (event) => this.port.postMessage(event));
      this.port.onmessage = ({ data }) => this.playout.take(data);
    }

    process(_, [[out]]) {
      this.playout.render(out);
      return true;
    }
  }

  registerProcessor("play", Play);
}
