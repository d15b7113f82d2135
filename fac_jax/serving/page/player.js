// Playback: the queue of play.js as a node of the page's audio graph.

import { Playout } from "./play.js";

/** Makes a player in an AudioContext of 24 kHz; `tell` gets the events of `Playout`. */
export async function makePlayer(context, tell) {
  const { node, send } = context.audioWorklet ? await worklet(context, tell) : processor(context, tell);
  return {
    node,
    /** Queues samples (Float32Array) of a reply. */
    push: (reply, samples) => send({ kind: "samples", reply, samples }),
    /** Says that a reply has no more samples. */
    end: (reply) => send({ kind: "end", reply }),
    /** Fades what is heard and forgets all that waits. */
    flush: () => send({ kind: "flush" }),
    /** Says how much may wait before the oldest is dropped. */
    limit: (seconds) => send({ kind: "limit", seconds }),
  };
}

async function worklet(context, tell) {
  await context.audioWorklet.addModule(new URL("play.js", import.meta.url));
  const node = new AudioWorkletNode(context, "play", { numberOfInputs: 0, outputChannelCount: [1] });
  node.port.onmessage = ({ data }) => tell(data);
  return { node, send: (message) => node.port.postMessage(message) };
}

function processor(context, tell) {
  const playout = new Playout(context.sampleRate, tell);
  const node = context.createScriptProcessor(1024, 0, 1);
  node.onaudioprocess = ({ outputBuffer }) => playout.render(outputBuffer.getChannelData(0));
  return { node, send: (message) => playout.take(message) };
}
