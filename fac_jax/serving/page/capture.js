// The worklet behind the microphone: hands on 40 ms at a time, as 16 bits at 24 kHz.

const RATE = 24000;
const CHUNK = 960;
const ZEROS = new Float32Array(128);

/** Changes the sampling rate of a stream, with a windowed sinc as the filter. */
class Resampler {
  constructor(from, to) {
    this.ratio = from / to;
    this.cutoff = Math.min(1, 1 / this.ratio);
    this.reach = Math.ceil(16 / this.cutoff); // samples of the input to each side
    this.kept = new Float32Array(this.reach);
    this.next = this.reach; // where the next output lies in what is kept
  }

  push(samples) {
    const input = new Float32Array(this.kept.length + samples.length);
    input.set(this.kept);
    input.set(samples, this.kept.length);
    const output = [];
    for (; this.next + this.reach < input.length; this.next += this.ratio) output.push(this.at(input));
    const used = Math.floor(this.next) - this.reach;
    this.kept = input.slice(used);
    this.next -= used;
    return output;
  }

  at(input) {
    const middle = Math.floor(this.next);
    let sum = 0;
    for (let i = middle - this.reach + 1; i <= middle + this.reach; i++) {
      const away = this.next - i;
      const angle = Math.PI * away * this.cutoff;
      const sinc = away === 0 ? 1 : Math.sin(angle) / angle;
      sum += input[i] * sinc * this.cutoff * (0.5 + 0.5 * Math.cos((Math.PI * away) / this.reach));
    }
    return sum;
  }
}

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = sampleRate === RATE ? null : new Resampler(sampleRate, RATE);
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
  }

  process([[input = ZEROS]]) {
    for (const sample of this.resampler ? this.resampler.push(input) : input) {
      this.chunk[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === CHUNK) {
        this.port.postMessage({ samples: this.chunk, until: currentTime * 1000 }, [this.chunk.buffer]);
        this.chunk = new Int16Array(CHUNK);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
