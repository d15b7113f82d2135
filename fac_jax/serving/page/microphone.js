// The microphone: permission, the worklet of capture.js, and words for what can go wrong.

import { RATE } from "./pcm.js";

const WISHES = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

const FAULTS = {
  NotAllowedError: "The browser has not allowed this page to use the microphone. Allow it in the address bar, then try again.",
  NotFoundError: "No microphone was found. Plug one in, type instead, or try a saved question.",
  NotReadableError: "The microphone is in use by another program.",
  OverconstrainedError: "The chosen microphone is not there any more. Choose another one in the settings.",
};

/** Returns why this page cannot have a microphone at all, in words; "" if it can. */
export function whyNoMicrophone() {
  if (globalThis.isSecureContext && navigator.mediaDevices?.getUserMedia) return "";
  if (globalThis.isSecureContext) return "This browser offers no microphone to pages.";
  const port = location.port || "80";
  return (
    "Browsers give the microphone only to https pages and to localhost, and this page came over plain http from " +
    `${location.hostname}. Either run “ssh -L ${port}:localhost:${port} ${location.hostname}” on this computer and open ` +
    `http://localhost:${port}, or start the server with --ssl-certfile. Typing and saved questions work here as well.`
  );
}

/** Names the microphones that there are; their labels are known once one has been allowed. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices.filter((device) => device.kind === "audioinput" && device.deviceId);
}

/**
 * Opens the microphone. `take` gets 40 ms at a time (Int16Array, 24 kHz), with the millisecond of its clock.
 * Throws an Error whose message is for the user.
 */
export async function openMicrophone(context, device, take) {
  const problem = whyNoMicrophone();
  if (problem) throw new Error(problem);
  let stream;
  try {
    const audio = device ? { ...WISHES, deviceId: { exact: device } } : WISHES;
    stream = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (fault) {
    throw new Error(FAULTS[fault.name] ?? `The microphone did not open: ${fault.message}`);
  }
  const { source, own } = attach(context, stream);
  const analyser = source.context.createAnalyser();
  await source.context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
  const capture = new AudioWorkletNode(source.context, "capture", { outputChannelCount: [1] });
  capture.port.onmessage = ({ data }) => take(data.samples, data.until);
  source.connect(analyser);
  source.connect(capture).connect(source.context.destination); // silent, but it must be pulled
  return {
    analyser,
    close() {
      capture.port.onmessage = null;
      source.disconnect();
      capture.disconnect();
      for (const track of stream.getTracks()) track.stop();
      own?.close();
    },
  };
}

// Chromium resamples a microphone to the rate of the context; Firefox refuses, so that it gets a context of its own.
function attach(context, stream) {
  try {
    return { source: context.createMediaStreamSource(stream), own: null };
  } catch {
    const own = new AudioContext({ latencyHint: "interactive" });
    return { source: own.createMediaStreamSource(stream), own };
  }
}

/** Returns a context for playing and, where the browser allows, capturing. Call it in a click, or it stays silent. */
export function makeContext() {
  return new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
}
