// How loud both sides are, and whether the microphone hears the speaker.

const FLOOR = -50; // dB, shown as nothing
const TOP = -10;

/** Returns how loud an analyser's signal is, from 0 to 1. */
export function level(analyser) {
  if (!analyser) return 0;
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  const decibels = 10 * Math.log10(power + 1e-9);
  return Math.max(0, Math.min(1, (decibels - FLOOR) / (TOP - FLOOR)));
}

const LENGTH = 180; // of the series: 3 s, a value for each frame of the screen
const LAGS = 20; // by which the echo may come later

/** Finds out from the two levels whether the output leaks into the microphone. */
export class Echo {
  constructor() {
    this.output = [];
    this.input = [];
  }

  /** Takes both levels while the model is heard; returns whether they go together. */
  leaks(input, output) {
    this.input.push(input);
    this.output.push(output);
    if (this.input.length < LENGTH) return false;
    let best = 0;
    for (let lag = 0; lag <= LAGS; lag++)
      best = Math.max(best, correlation(this.input.slice(lag), this.output.slice(0, LENGTH - lag)));
    this.input.length = this.output.length = 0;
    return best > 0.75;
  }
}

function correlation(a, b) {
  const mean = (row) => row.reduce((sum, x) => sum + x, 0) / row.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += (a[i] - ma) * (b[i] - mb);
    aa += (a[i] - ma) ** 2;
    bb += (b[i] - mb) ** 2;
  }
  return aa > 0.05 && bb > 0.05 ? ab / Math.sqrt(aa * bb) : 0;
}
