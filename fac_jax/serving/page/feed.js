// Audio that comes from no microphone, handed on as if it were spoken now: saved questions, and silence.

import { CHUNK, RATE } from "./pcm.js";

/**
 * Hands on `next(number)` (Int16Array of 40 ms) at the pace of speech until it returns null; then `over` is called.
 * `send` gets it with the millisecond of its end.
 * Returns what stops it.
 */
export function feed(next, send, over = () => {}) {
  const begin = performance.now();
  let number = 0;
  const timer = setInterval(() => {
    for (const due = ((performance.now() - begin) * RATE) / 1000 / CHUNK; number < due; number++) {
      const chunk = next(number);
      if (chunk === null) {
        clearInterval(timer);
        over();
        return;
      }
      send(chunk, begin + ((number + 1) * CHUNK * 1000) / RATE);
    }
  }, 20);
  return () => clearInterval(timer);
}

/** Returns the chunks of samples (Int16Array), with silence behind them so that the turn is found to end. */
export function chunksOf(samples, silence = 1.5) {
  const padded = new Int16Array(Math.ceil((samples.length + silence * RATE) / CHUNK) * CHUNK);
  padded.set(samples);
  return (number) => ((number + 1) * CHUNK <= padded.length ? padded.slice(number * CHUNK, (number + 1) * CHUNK) : null);
}

/** Silence without end. */
export const silence = () => new Int16Array(CHUNK);
