// Samples as the protocol and files carry them: 16 bits, little endian, 24 kHz, one channel.

export const RATE = 24000; // Hz
export const CHUNK = 960; // samples of a message to the server: 40 ms
export const UNIT = RATE / 25; // samples of one speech unit

/** Writes samples (Int16Array) as base64. */
export function toBase64(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** Reads base64 as samples in [-1, 1] (Float32Array). */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768);
}

/** Rounds samples in [-1, 1] to 16 bits. */
export function toPcm16(samples) {
  return Int16Array.from(samples, (sample) => Math.max(-1, Math.min(1, sample)) * 32767);
}

/** Returns a WAV file (Blob) of two channels of equal length (Int16Array). */
export function stereoWav(left, right) {
  const file = new ArrayBuffer(44 + 4 * left.length);
  const view = new DataView(file);
  const word = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, file.byteLength - 8, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 2, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, RATE * 4, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 4 * left.length, true);
  const both = new Int16Array(file, 44);
  for (let i = 0; i < left.length; i++) {
    both[2 * i] = left[i];
    both[2 * i + 1] = right[i];
  }
  return new Blob([file], { type: "audio/wav" });
}
