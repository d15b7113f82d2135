// A rolling picture of the sound of both sides, the newest at the right; low frequencies are at the bottom.

const SPAN = 8000; // Hz that are shown
const STEP = 25; // milliseconds of a column
const FLOOR = 0.25; // of the analyser's range, drawn as nothing

export class Spectrogram {
  /** `sides`: [{canvas, analyser()}]; the colour is that of the canvas's text, and analyser() may return null. */
  constructor(sides) {
    this.sides = sides.map((side) => ({ ...side, pen: side.canvas.getContext("2d", { willReadFrequently: true }) }));
    this.drawn = 0;
    this.colours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.colours());
  }

  /** Reads the colours of the theme again. */
  colours() {
    for (const side of this.sides) side.ink = getComputedStyle(side.canvas).color.match(/[\d.]+/g).slice(0, 3);
  }

  /** Draws what has come since the last time. */
  draw(now) {
    const columns = Math.min(20, Math.floor((now - this.drawn) / STEP));
    if (columns < 1) return;
    this.drawn = columns === 20 ? now : this.drawn + columns * STEP;
    for (const side of this.sides) this.advance(side, columns);
  }

  advance({ canvas, pen, analyser, ink }, columns) {
    const width = Math.round(canvas.clientWidth);
    const height = Math.round(canvas.clientHeight);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    pen.globalCompositeOperation = "copy"; // what moves replaces what was there
    pen.drawImage(canvas, -columns, 0);
    const source = analyser();
    if (!source) return;
    source.fftSize = 1024;
    source.smoothingTimeConstant = 0;
    source.minDecibels = -95;
    source.maxDecibels = -25;
    const levels = new Uint8Array(source.frequencyBinCount);
    source.getByteFrequencyData(levels);
    const column = pen.createImageData(1, height);
    const bins = (SPAN / (source.context.sampleRate / 2)) * levels.length;
    for (let y = 0; y < height; y++) {
      const bin = warped(1 - y / height) * bins;
      const strength = Math.max(0, levels[Math.floor(bin)] / 255 - FLOOR) / (1 - FLOOR);
      column.data.set([...ink, 255 * strength], 4 * y);
    }
    for (let x = width - columns; x < width; x++) pen.putImageData(column, x, 0);
  }
}

// Half of the height goes to what lies below 1600 Hz, as on the mel scale.
const warped = (height) => (Math.exp(height * 2.77) - 1) / (Math.exp(2.77) - 1);
