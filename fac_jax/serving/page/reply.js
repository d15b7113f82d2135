// A reply as the page knows it: its text, its steps, and how much of it has been heard.

import { RATE, UNIT } from "./pcm.js";

const STEP = 5 * UNIT; // samples of one LLM step
const CJK = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/; // written without spaces
const LETTER = /[\p{L}\p{N}'’]/u;

// Seconds that a character takes to say; learnt from replies that were heard in full.
const pace = { latin: 1 / 15, cjk: 1 / 4.5 };

export class Reply {
  constructor(id) {
    this.id = id;
    this.item = null; // the item that the server keeps of it
    this.text = "";
    this.stepEnds = []; // characters of the text after each LLM step
    this.spans = []; // [characters, sample] where the server says when words are spoken
    this.at = undefined; // the millisecond of the talk where it begins, in full duplex
    this.begin = 0; // the sample of its stream with which it begins; only a live stream holds several replies
    this.received = 0; // samples
    this.played = 0; // samples
    this.audioDone = false;
    this.done = false; // at the server
    this.stopped = false; // interrupted: what still comes of it is dropped
    this.finished = false; // nothing more will be heard
    this.status = null;
  }

  /** Adds what an LLM step added to the text. */
  step(text) {
    this.stepEnds.push((this.stepEnds.at(-1) ?? 0) + text.length);
  }

  /** Milliseconds of it that were played. */
  get playedMs() {
    return Math.round((this.played * 1000) / RATE);
  }

  /**
   * Characters that have been heard. Words have no times of their own in this protocol, so this is an estimate: text
   * is heard no earlier than its step, and at an even pace.
   */
  get heard() {
    if (this.finished && !this.stopped) return this.text.length;
    if (this.spans.length) return this.spans.findLast(([, sample]) => sample <= this.begin + this.played)?.[0] ?? 0;
    if (!this.played) return 0;
    const even = this.audioDone
      ? (this.text.length * this.played) / this.received
      : this.played / RATE / this.secondsPerCharacter;
    const picked = this.stepEnds.length
      ? (this.stepEnds[Math.min(this.stepEnds.length - 1, Math.floor(this.played / STEP))] ?? 0)
      : Infinity;
    return wholeWord(this.text, Math.min(even, picked, this.text.length));
  }

  get secondsPerCharacter() {
    return pace[this.script];
  }

  get script() {
    return CJK.test(this.text) ? "cjk" : "latin";
  }

  /** Learns how fast the model speaks from a reply that was heard in full. */
  learn() {
    if (this.text.length < 12) return;
    const seconds = this.received / RATE / this.text.length;
    pace[this.script] += (Math.min(0.5, Math.max(0.02, seconds)) - pace[this.script]) / 2;
  }
}

// A word counts as heard when it begins, with the space behind it.
function wholeWord(text, characters) {
  let at = Math.ceil(characters);
  const inWord = (letter) => LETTER.test(letter) && !CJK.test(letter);
  while (at > 0 && at < text.length && inWord(text[at - 1]) && inWord(text[at])) at++;
  while (at > 0 && /\s/.test(text[at] ?? "")) at++;
  return at;
}
